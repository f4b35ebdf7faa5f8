"""The HTTP seam: keep-alive, mutual TLS, framing, and what a client is told when there is no answer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from pytest_mojaloop_perf.fspiop.http import (
    Client,
    ConnectError,
    Handler,
    HttpError,
    Request,
    RequestTimeoutError,
    Response,
    Server,
)
from pytest_mojaloop_perf.fspiop.pki import create_security_folder
from pytest_mojaloop_perf.fspiop.tls import ClientTls, ServerTls, client_tls, server_tls
from pytest_mojaloop_perf.reference.process import new_loop

LOOPS = {"plain": asyncio.new_event_loop, "fastest": new_loop}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("http") / "security"
    create_security_folder(made, ["fsp201", "Hub"], "off")
    return made


@pytest.fixture(params=LOOPS, name="run")
def _run(request: pytest.FixtureRequest) -> Callable[[Awaitable[None]], None]:
    def run(work: Awaitable[None]) -> None:
        async def main() -> None:
            async with asyncio.timeout(20):
                await work

        with asyncio.Runner(loop_factory=LOOPS[request.param]) as runner:
            runner.run(main())

    return run


Run = Callable[[Awaitable[None]], None]


@asynccontextmanager
async def pair(
    handler: Handler,
    *,
    server: ServerTls | None = None,
    client: ClientTls | None = None,
    timeout_s: float = 5.0,
    connections: int = 64,
) -> AsyncIterator[tuple[Client, str]]:
    """Yield a client and the URL of a server that runs `handler`."""
    listening = await Server.start(handler, tls=server)
    own = Client(client, timeout_s=timeout_s, connections=connections)
    try:
        yield own, f"{'https' if server else 'http'}://127.0.0.1:{listening.port}"
    finally:
        await own.close()
        await listening.stop()


class Recorder:
    """Answers 202 and remembers what it saw."""

    def __init__(self, response: Response | None = None) -> None:
        self.seen: list[Request] = []
        self._response = response or Response(202)

    async def __call__(self, request: Request) -> Response:
        self.seen.append(request)
        return self._response


def test_a_request_arrives_whole(run: Run) -> None:
    async def work() -> None:
        recorder = Recorder(Response(201, b"made", (("content-type", "text/plain"), ("x-y", "z"))))
        async with pair(recorder) as (client, url):
            body = b"x" * 200_000
            response = await client.request(
                "POST", f"{url}/quotes/a%20b?c=d", {"FSPIOP-Source": "fsp201"}, body
            )
        assert (response.status, response.body) == (201, b"made")
        assert response.header("x-y") == "z"
        assert response.header("absent") is None
        (seen,) = recorder.seen
        assert (seen.method, seen.path, seen.query) == ("POST", "/quotes/a b", "c=d")
        assert seen.headers["fspiop-source"] == "fsp201"
        assert seen.body == body
        assert seen.peer is None

    run(work())


def test_nothing_is_sent_that_nobody_asked_for(run: Run) -> None:
    async def work() -> None:
        recorder = Recorder()
        async with pair(recorder) as (client, url):
            await client.request("PUT", f"{url}/quotes/1", {"date": "today"}, b"{}")
            await client.request("GET", f"{url}/parties/1")
            await client.request("POST", url)
        assert [sorted(request.headers) for request in recorder.seen] == [
            ["content-length", "date", "host"],
            ["host"],
            ["content-length", "host"],
        ]
        assert recorder.seen[2].path == "/"

    run(work())


def test_headers_of_the_hop_are_our_own(run: Run) -> None:
    async def work() -> None:
        recorder = Recorder()
        async with pair(recorder) as (client, url):
            passed_on = {"Host": "elsewhere", "Content-Length": "99", "connection": "close", "x": "y"}
            await client.request("POST", url, passed_on, b"ab")
        (seen,) = recorder.seen
        assert seen.headers["host"] == url.removeprefix("http://")
        assert seen.headers["content-length"] == "2"
        assert seen.body == b"ab"

    run(work())


@pytest.mark.parametrize("value", ["a\r\nx: y", "a\nb", "\u20ac"])
def test_a_header_cannot_smuggle(run: Run, value: str) -> None:
    async def work() -> None:
        recorder = Recorder()
        async with pair(recorder) as (client, url):
            with pytest.raises(HttpError):
                await client.request("GET", url, {"fspiop-source": value})
        assert recorder.seen == []

    run(work())


def test_the_peers_name_comes_from_its_certificate(run: Run, folder: Path) -> None:
    async def work() -> None:
        recorder = Recorder()
        own = client_tls(folder, "fsp201")
        async with pair(recorder, server=server_tls(folder, "Hub"), client=own) as (client, url):
            for _ in range(3):
                assert (await client.request("GET", url)).status == 202
            assert (await client.request("GET", url.replace("127.0.0.1", "localhost"))).status == 202
        assert [request.peer for request in recorder.seen] == ["fsp201"] * 4

    run(work())


def test_without_a_certificate_there_is_no_answer(run: Run, folder: Path) -> None:
    async def work() -> None:
        recorder = Recorder()
        nobody = client_tls(folder, None)
        async with pair(recorder, server=server_tls(folder, "Hub"), client=nobody) as (client, url):
            with pytest.raises(ConnectError):
                await client.request("GET", url)
        assert recorder.seen == []
        lax = server_tls(folder, "Hub", demand_client_certificate=False)
        async with pair(recorder, server=lax, client=nobody) as (client, url):
            assert (await client.request("GET", url)).status == 202
        assert [request.peer for request in recorder.seen] == [None]

    run(work())


def test_a_foreign_certificate_is_refused_on_both_sides(run: Run, folder: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    create_security_folder(other, ["fsp201", "Hub"], "off")
    foreign = client_tls(other, "fsp201")
    ours = client_tls(folder, "fsp201")
    mixed = ClientTls(ca=ours.ca, certificate=foreign.certificate, key=foreign.key)

    async def work() -> None:
        recorder = Recorder()
        for client_side in (foreign, mixed):
            async with pair(recorder, server=server_tls(folder, "Hub"), client=client_side) as (client, url):
                with pytest.raises(ConnectError):
                    await client.request("GET", url)
        assert recorder.seen == []

    run(work())


def test_nobody_listens(run: Run) -> None:
    async def work() -> None:
        server = await Server.start(Recorder())
        await server.stop()
        client = Client()
        with pytest.raises(ConnectError, match=f"GET http://127.0.0.1:{server.port}/x"):
            await client.request("GET", f"http://127.0.0.1:{server.port}/x")
        with pytest.raises(HttpError, match="not an http"):
            await client.request("GET", "ftp://127.0.0.1/x")
        await client.close()

    run(work())


def test_no_answer_in_time(run: Run) -> None:
    async def work() -> None:
        release = asyncio.Event()

        async def late(request: Request) -> Response:
            if request.path == "/late":
                await release.wait()
            return Response(200, request.path.encode())

        async with pair(late, timeout_s=0.2, connections=1) as (client, url):
            with pytest.raises(RequestTimeoutError):
                await client.request("GET", f"{url}/late")
            release.set()
            # The answer to the first must never be taken for that of the second.
            assert (await client.request("GET", f"{url}/second")).body == b"/second"

    run(work())


def test_requests_wait_for_a_free_connection(run: Run) -> None:
    async def work() -> None:
        under_way = 0
        most = 0

        async def count(request: Request) -> Response:
            nonlocal under_way, most
            under_way += 1
            most = max(most, under_way)
            await asyncio.sleep(0.005)
            under_way -= 1
            return Response(200, request.path.encode())

        async with pair(count, connections=3) as (client, url):
            answers = await asyncio.gather(*(client.request("GET", f"{url}/{n}") for n in range(20)))
        assert [answer.body for answer in answers] == [f"/{n}".encode() for n in range(20)]
        assert most == 3

    run(work())


async def _raw_server(answer: bytes, *, close: bool = True) -> tuple[asyncio.Server, str]:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        await writer.drain()
        if close:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    return server, f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (b"", HttpError),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nabc", HttpError),
        (b"nonsense\r\n\r\n", HttpError),
    ],
)
def test_a_broken_answer_is_an_error(run: Run, answer: bytes, error: type[Exception]) -> None:
    async def work() -> None:
        server, url = await _raw_server(answer)
        client = Client(timeout_s=5)
        try:
            for _ in range(2):
                with pytest.raises(error):
                    await client.request("GET", url)
        finally:
            await client.close()
            server.close()
            await server.wait_closed()

    run(work())


def test_answers_of_other_servers_are_understood(run: Run) -> None:
    async def work() -> None:
        interim = b"HTTP/1.1 100 Continue\r\n\r\n"
        chunked = interim + b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
        until_closed = b"HTTP/1.1 200 OK\r\nX: y\r\n\r\nabc"
        for answer in (chunked, until_closed):
            server, url = await _raw_server(answer)
            client = Client(timeout_s=5)
            response = await client.request("GET", url)
            assert (response.status, response.body) == (200, b"abc")
            await client.close()
            server.close()
            await server.wait_closed()

    run(work())


def test_too_long_a_body_never_reaches_the_handler(run: Run) -> None:
    async def work() -> None:
        recorder = Recorder()
        async with pair(recorder) as (client, url):
            response = await client.request("POST", url, {}, b"x" * 1_100_000)
        assert response.status == 413
        assert recorder.seen == []

    run(work())


def test_a_handler_that_fails_is_answered_with_500(run: Run) -> None:
    async def work() -> None:
        async def broken(request: Request) -> Response:
            raise RuntimeError("boom")

        async with pair(broken) as (client, url):
            assert (await client.request("GET", url)).status == 500
            assert (await client.request("GET", url)).status == 500

    run(work())


def test_nonsense_is_answered_with_400(run: Run) -> None:
    async def work() -> None:
        server = await Server.start(Recorder())
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(b"\x16\x03\x01 nonsense\r\n\r\n")
        assert (await reader.read()).startswith(b"HTTP/1.1 400")
        writer.close()
        await server.stop()

    run(work())


def test_requests_sent_at_once_are_answered_in_order(run: Run) -> None:
    async def work() -> None:
        async def echo(request: Request) -> Response:
            await asyncio.sleep(0.02 if request.path == "/1" else 0)
            return Response(200, request.path.encode())

        server = await Server.start(echo)
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(
            b"GET /1 HTTP/1.1\r\nhost: a\r\n\r\nGET /2 HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n"
        )
        text = (await reader.read()).decode()
        assert text.index("/1") < text.index("/2")
        assert text.count("HTTP/1.1 200") == 2
        writer.close()
        await server.stop()

    run(work())


def test_stop_ends_everything(run: Run) -> None:
    async def work() -> None:
        async def forever(request: Request) -> Response:
            await asyncio.Event().wait()
            return Response(200)

        server = await Server.start(forever)
        client = Client(timeout_s=10)
        pending = asyncio.ensure_future(client.request("GET", f"http://127.0.0.1:{server.port}/"))
        await asyncio.sleep(0.1)
        await server.stop()
        with pytest.raises(HttpError):
            await pending
        await client.close()

    run(work())
