"""Where servers are asked that listen on this or that address."""

import pytest

from ATTS.launch.supervisor import Server


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:40000"),
        ("0.0.0.0", "http://127.0.0.1:40000"),  # noqa: S104 - every address, which is none to ask at
        ("::", "http://[::1]:40000"),
        ("fd00::7", "http://[fd00::7]:40000"),
        ("10.1.2.3", "http://10.1.2.3:40000"),
        ("node-7", "http://node-7:40000"),
    ],
)
def test_a_server_is_asked_where_this_machine_reaches_it(host: str, url: str) -> None:
    server = Server(role="small_model", model="demo-draft", port=40000, host=host)
    assert server.url == url
    assert server.is_open == (host != "127.0.0.1")  # the launch warns of those, without a key
