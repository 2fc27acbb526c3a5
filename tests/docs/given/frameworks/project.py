from typing import Any


def main(_global: Any, **settings: str) -> Any:
    from pyramid.config import Configurator  # type: ignore[import-untyped]
    from pyramid.response import Response  # type: ignore[import-untyped]

    config = Configurator(settings=settings)
    config.add_route("index", "/")
    config.add_view(lambda _request: Response("Hello!"), route_name="index")
    return config.make_wsgi_app()
