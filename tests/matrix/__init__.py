"""The plugin on the oldest and the newest pytest and their async plugins, and in parallel."""
