"""In the place of SGLang for tests of whole scripts: see launch_server."""
