"""moto: its `ThreadedMotoServer` is a simulated AWS, with a request handler of its own."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from keep_alive import get_on_one_connection
from moto.moto_server.threaded_moto_server import ThreadedMotoServer


@pytest.fixture(scope="module")
def moto_server() -> Iterator[ThreadedMotoServer]:
    server = ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def s3(moto_server: ThreadedMotoServer) -> Iterator[Any]:
    host, port = moto_server.get_host_and_port()
    client = boto3.client(
        "s3",
        endpoint_url=f"http://{host}:{port}",
        region_name="us-east-1",
        aws_access_key_id="testing",
        aws_secret_access_key="testing",
    )
    client.create_bucket(Bucket="bucket")
    yield client
    client.close()


def test_the_server_is_one_of_asyncwsgi(moto_server: ThreadedMotoServer) -> None:
    assert type(moto_server._server).__module__.startswith("asyncwsgi.")


def test_an_object_comes_back_as_it_was_put(s3: Any) -> None:
    body = bytes(range(256)) * 4096
    s3.put_object(Bucket="bucket", Key="a key/with ü", Body=body)
    assert s3.get_object(Bucket="bucket", Key="a key/with ü")["Body"].read() == body
    listed = s3.list_objects_v2(Bucket="bucket")["Contents"]
    assert [entry["Key"] for entry in listed] == ["a key/with ü"]


def test_its_request_handler_sees_headers_with_underscores(s3: Any) -> None:
    # MotoRequestHandler.make_environ() reads them from self.headers; no environ has them.
    s3.put_object(Bucket="bucket", Key="object", Body=b"", Metadata={"with_underscore": "value"})
    head = s3.head_object(Bucket="bucket", Key="object")
    assert head["Metadata"] == {"with_underscore": "value"}
    s3.delete_object(Bucket="bucket", Key="object")


def test_a_missing_object_is_the_error_of_the_service(s3: Any) -> None:
    with pytest.raises(s3.exceptions.NoSuchKey):
        s3.get_object(Bucket="bucket", Key="missing")


def test_the_server_keeps_its_connections(moto_server: ThreadedMotoServer) -> None:
    host, port = moto_server.get_host_and_port()
    get_on_one_connection(host, port, "/moto-api/data.json", "/moto-api/data.json")
