"""Watching a source of new data: a folder, a stream, a growing table or an MQTT topic. Needs no torch."""
