"""Python's gql: aiohttp for HTTP and uploads; sockets by websockets (which takes the older dialect, or the newer one
when told) and by aiohttp. Output and settings are as in common.mjs."""

import asyncio
import io
import logging
import os
import sys
import traceback
import uuid
from urllib.parse import urlsplit

from gql import Client, FileVar, GraphQLRequest
from gql.transport.aiohttp import AIOHTTPTransport
from gql.transport.aiohttp_websockets import AIOHTTPWebsocketsTransport
from gql.transport.exceptions import TransportError, TransportQueryError
from gql.transport.websockets import WebsocketsTransport

SERVER = os.environ["CLAIMWRIGHT_URL"]
URL = f"{SERVER}/graphql"
AUTHORIZATION = {"Authorization": f"Bearer {os.environ['CLAIMWRIGHT_TOKEN']}"}
BATCH = "query ($id: ID!) { batch(id: $id) { id name eventCursor } }"
CREATE = "mutation ($input: CreateBatchInput!) { createBatch(input: $input) { batch { id name eventCursor } userErrors { code } } }"
RENAME = "mutation ($id: ID!, $name: String!) { renameBatch(id: $id, name: $name) { batch { name } userErrors { code } } }"
IMPORT = "mutation ($input: ImportProjectsInput!) { importProjects(input: $input) { import { id } userErrors { code } } }"
WATCH = """subscription ($id: ID!, $after: EventCursor) {
  batchProgress(batchId: $id, after: $after) { __typename ... on StreamEvent { cursor sequence } } }"""
PATIENCE = 30

failed = False


async def check(name, run):
    """Runs a check and tells how it went."""
    global failed
    try:
        await asyncio.wait_for(run(), PATIENCE)
        print(f"ok {name}", flush=True)
    except Exception:
        failed = True
        print(f"FAIL {name}", flush=True)
        traceback.print_exc()


def http(**more):
    return AIOHTTPTransport(url=URL, headers={**AUTHORIZATION, **more}, ssl=False)


async def ask(query, variables):
    """The driver's own requests."""
    async with Client(transport=http()) as session:
        return await session.execute(GraphQLRequest(query, variable_values=variables))


async def new_batch():
    data = await ask(CREATE, {"input": {"name": f"Batch {uuid.uuid4()}"}})
    assert data["createBatch"]["userErrors"] == []
    return data["createBatch"]["batch"]


class Proxy:
    """Stands before the server; cuts what is open and refuses what comes, as a network does."""

    def __init__(self):
        self.open, self.is_down = set(), False

    async def start(self):
        self.listener = await asyncio.start_server(self.accept, "127.0.0.1", 0)
        return f"ws://127.0.0.1:{self.listener.sockets[0].getsockname()[1]}/graphql"

    async def accept(self, reader, writer):
        if self.is_down:
            writer.transport.abort()
            return
        server = urlsplit(SERVER)
        upstream_reader, upstream_writer = await asyncio.open_connection(server.hostname, server.port)
        both = (writer, upstream_writer)
        self.open.add(both)

        async def copy(source, target):
            try:
                while data := await source.read(65536):
                    target.write(data)
                    await target.drain()
            except ConnectionError:
                pass
            for one in both:
                one.transport.abort()

        await asyncio.gather(copy(reader, upstream_writer), copy(upstream_reader, writer))
        self.open.discard(both)

    def down(self):
        self.is_down = True
        assert self.open, "there is a connection to cut"
        for both in self.open:
            for writer in both:
                writer.transport.abort()


async def survives(transport_of):
    """A subscription over a connection that breaks, taken up again after the last cursor."""
    batch = await new_batch()
    proxy = Proxy()
    url = await proxy.start()
    heard, changed = [], asyncio.Condition()
    after = batch["eventCursor"]

    async def watch():
        nonlocal after
        while True:
            try:
                async with Client(transport=transport_of(url)) as session:
                    request = GraphQLRequest(WATCH, variable_values={"id": batch["id"], "after": after})
                    async for event in session.subscribe(request):
                        event = event["batchProgress"]
                        assert event["__typename"] == "BatchChanged", event
                        after = event["cursor"]
                        async with changed:
                            heard.append(event["sequence"])
                            changed.notify_all()
            except (TransportError, OSError):
                pass
            await asyncio.sleep(0.05)

    async def until(number):
        async with changed:
            await changed.wait_for(lambda: len(heard) >= number)

    async def rename(name):
        await ask(RENAME, {"id": batch["id"], "name": f"{batch['name']} {name}"})

    watching = asyncio.create_task(watch())
    await rename("a")
    await rename("b")
    await until(2)
    for number in (1, 2):
        proxy.down()
        await rename(f"while it is down {number}")
        await rename(f"still down {number}")
        proxy.is_down = False
        await rename(f"again {number}")
        await until(2 + 3 * number)
    await rename("last")
    await until(9)
    watching.cancel()
    await asyncio.gather(watching, return_exceptions=True)
    proxy.listener.close()
    assert heard == list(range(heard[0], heard[0] + 9)), heard


def websockets(url, **more):
    return WebsocketsTransport(url=url, init_payload=AUTHORIZATION, **more)


def websockets_newer(url):
    return websockets(url, subprotocols=[WebsocketsTransport.GRAPHQLWS_SUBPROTOCOL])


def aiohttp_sockets(url):
    return AIOHTTPWebsocketsTransport(url=url, init_payload=AUTHORIZATION)


async def refused(transport, query, variables, code):
    try:
        async with Client(transport=transport) as session:
            if query == WATCH:
                async for _ in session.subscribe(GraphQLRequest(query, variable_values=variables)):
                    pass
            else:
                await session.execute(GraphQLRequest(query, variable_values=variables))
    except TransportQueryError as error:
        assert error.errors[0]["extensions"]["code"] == code, error.errors
        return
    raise AssertionError("it was not refused")


async def course(name, transport_of):
    """What every transport can do."""
    batch = await new_batch()

    async def query():
        async with Client(transport=transport_of()) as session:
            data = await session.execute(GraphQLRequest(BATCH, variable_values={"id": batch["id"]}))
            assert data["batch"]["name"] == batch["name"], data

    async def mutation():
        async with Client(transport=transport_of()) as session:
            renamed = f"Renamed {uuid.uuid4()}"
            data = await session.execute(GraphQLRequest(RENAME, variable_values={"id": batch["id"], "name": renamed}))
            assert data["renameBatch"]["batch"]["name"] == renamed, data

    await check(f"{name}: query", query)
    await check(f"{name}: mutation", mutation)
    await check(f"{name}: an operation that is refused", lambda: refused(transport_of(), "{ nothingOfThatName }", {}, "VALIDATION_FAILED"))


async def main():
    socket = URL.replace("http", "ws", 1)
    await course("aiohttp", http)

    async def upload():
        batch = await new_batch()
        file = FileVar(io.BytesIO(b"External ref,Project name\nP-1,Barrier film\n"), filename="projects.csv", content_type="text/csv")
        async with Client(transport=http(**{"graphql-require-preflight": "1"})) as session:
            variables = {"input": {"batchId": batch["id"], "source": {"file": file}}}
            data = await session.execute(GraphQLRequest(IMPORT, variable_values=variables), upload_files=True)
            assert data["importProjects"]["userErrors"] == [], data

    await check("aiohttp: upload", upload)
    sockets = [("websockets", websockets), ("websockets, newer dialect", websockets_newer), ("aiohttp sockets", aiohttp_sockets)]
    for name, transport_of in sockets:
        await course(name, lambda transport_of=transport_of: transport_of(socket))
        await check(f"{name}: a subscription that is refused", lambda: refused(transport_of(socket), WATCH, {"id": "nonsense"}, "NOT_FOUND"))
        await check(f"{name}: a subscription survives", lambda: survives(transport_of))


logging.disable(logging.CRITICAL)
asyncio.run(main())
sys.exit(1 if failed else 0)
