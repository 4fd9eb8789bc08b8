"""A service that scores over HTTP: many models in one process. Needs the extra `serve`, and no torch of its own."""
