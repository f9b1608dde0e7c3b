"""A client of etcd's v3 API over gRPC: it asks one member, and the next where that does not answer.

Each request is known to be safe to repeat: reads are, leases without keys expire by themselves, and a transaction
compares what it is based on, so that one which was carried out unheard fails when it comes again.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import grpc
import grpc.aio

from nankeen.registry.etcd_faults import fault, is_open_to_all, is_stale_token, may_answer_elsewhere
from nankeen.registry.etcd_settings import EtcdSettings
from nankeen.registry.etcdrpc import rpc_pb2 as rpc
from nankeen.registry.etcdrpc import rpc_pb2_grpc as stubs

PATIENCE = 5.0
"""Seconds to wait for an answer."""

_OPTIONS = (
    ("grpc.enable_http_proxy", 0),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.max_reconnect_backoff_ms", 1_000),
    ("grpc.max_receive_message_length", 256 << 20),
    ("grpc.use_local_subchannel_pool", 1),
)

Answer = TypeVar("Answer")


class Member:
    """One member of the cluster, spoken to from its first use on."""

    def __init__(self, endpoint: str, settings: EtcdSettings, patience: float) -> None:
        """One that vanishes without a word is noticed within three times `patience`, in seconds. With less than 2.5
        the server takes offence, unless it is told to allow it.
        """
        self.name = endpoint.rpartition("://")[2].rstrip("/")
        longest = int(patience * 1000)
        options = (
            *_OPTIONS,
            ("grpc.min_reconnect_backoff_ms", longest),  # how long to try to connect, whatever its name says
            ("grpc.keepalive_time_ms", 2 * longest),
            ("grpc.keepalive_timeout_ms", longest),
            ("grpc.http2.ping_timeout_ms", longest),
        )
        if settings.is_encrypted(endpoint):
            credentials = grpc.ssl_channel_credentials(*settings.pem())
            self.channel = grpc.aio.secure_channel(self.name, credentials, options)
        else:
            self.channel = grpc.aio.insecure_channel(self.name, options)
        self.kv = stubs.KVStub(self.channel)
        self.lease = stubs.LeaseStub(self.channel)
        self.watch = stubs.WatchStub(self.channel)
        self.auth = stubs.AuthStub(self.channel)


Metadata = tuple[tuple[str, str], ...]
Request = Callable[[Member, Metadata], Awaitable[Answer]]


class EtcdClient:
    """An etcd cluster. Every method raises `RegistryError`."""

    def __init__(self, settings: EtcdSettings, patience: float = PATIENCE) -> None:
        self._settings = settings
        self._patience = patience
        self._members: dict[str, Member] = {}
        self._turn = 0
        self._token: str | None = None

    @property
    def where(self) -> str:
        """The member that is asked now."""
        return f"etcd {self._endpoint.rpartition('://')[2]}"

    async def range(self, request: rpc.RangeRequest) -> rpc.RangeResponse:
        answer: rpc.RangeResponse = await self._ask(
            lambda member, metadata: member.kv.Range(request, metadata=metadata, timeout=self._patience)
        )
        return answer

    async def transact(self, request: rpc.TxnRequest) -> rpc.TxnResponse:
        answer: rpc.TxnResponse = await self._ask(
            lambda member, metadata: member.kv.Txn(request, metadata=metadata, timeout=self._patience)
        )
        return answer

    async def grant(self, seconds: int) -> rpc.LeaseGrantResponse:
        """A new etcd lease, which lives for at least so long (`TTL`, seconds: the server has a minimum)."""
        request = rpc.LeaseGrantRequest(TTL=seconds)
        answer: rpc.LeaseGrantResponse = await self._ask(
            lambda member, metadata: member.lease.LeaseGrant(request, metadata=metadata, timeout=self._patience)
        )
        return answer

    async def revoke(self, lease: int) -> None:
        """Ends an etcd lease, and the keys on it."""
        request = rpc.LeaseRevokeRequest(ID=lease)
        await self._ask(
            lambda member, metadata: member.lease.LeaseRevoke(request, metadata=metadata, timeout=self._patience)
        )

    async def keep_alive(self, lease: int) -> int:
        """Lets an etcd lease begin anew; the seconds that it lives now, 0 where it is gone."""
        answer: rpc.LeaseKeepAliveResponse = await self._ask(
            lambda member, metadata: self._keep_alive(member, metadata, rpc.LeaseKeepAliveRequest(ID=lease))
        )
        return answer.TTL

    @asynccontextmanager
    async def watch(self, create: rpc.WatchCreateRequest) -> AsyncIterator[EtcdWatch]:
        """The news of a range of keys, from a revision on."""
        watch = await self._ask(lambda member, metadata: self._open_watch(member, metadata, create))
        try:
            yield watch
        finally:
            watch.close()

    def close(self) -> None:
        """Gives up all connections."""
        self._members.clear()

    async def _ask(self, request: Request[Any]) -> Any:  # noqa: ANN401  (the stubs are generated, and have no types)
        """The first answer of a member, beginning with the one that answered last."""
        for tries_left in reversed(range(len(self._settings.endpoints))):
            try:
                return await self._ask_member(self._member(), request)
            except grpc.aio.AioRpcError as error:
                failure = fault(self.where, error)
                if not may_answer_elsewhere(error) or not tries_left:
                    self._turn += may_answer_elsewhere(error)
                    raise failure from error
                self._turn += 1
        raise AssertionError("there is a member at least")

    async def _ask_member(self, member: Member, request: Request[Any]) -> Any:  # noqa: ANN401
        try:
            return await request(member, await self._metadata(member))
        except grpc.aio.AioRpcError as error:
            if not (self._settings.username and is_stale_token(error)):
                raise
        self._token = None
        return await request(member, await self._metadata(member))

    async def _metadata(self, member: Member) -> Metadata:
        """Who we are, and that we want no answer from a member that has lost the others."""
        if self._settings.username and self._token is None:
            self._token = await self._authenticate(member)
        leader = ("hasleader", "true")
        return (leader, ("token", self._token)) if self._token else (leader,)

    async def _authenticate(self, member: Member) -> str:
        """A token for the user; none where etcd does not care who asks, as flannel's client has it."""
        credentials = rpc.AuthenticateRequest(name=self._settings.username, password=self._settings.password)
        try:
            answer: rpc.AuthenticateResponse = await member.auth.Authenticate(credentials, timeout=self._patience)
        except grpc.aio.AioRpcError as error:
            if is_open_to_all(error):
                return ""
            raise
        return answer.token

    async def _keep_alive(
        self, member: Member, metadata: Metadata, request: rpc.LeaseKeepAliveRequest
    ) -> rpc.LeaseKeepAliveResponse:
        call = member.lease.LeaseKeepAlive(metadata=metadata, timeout=self._patience)
        try:
            await call.write(request)
            answer: rpc.LeaseKeepAliveResponse = await _read(call)
            return answer
        finally:
            call.cancel()

    async def _open_watch(self, member: Member, metadata: Metadata, create: rpc.WatchCreateRequest) -> EtcdWatch:
        """A stream that the server has agreed to."""
        call = member.watch.Watch(metadata=metadata)
        try:
            async with asyncio.timeout(self._patience):
                await call.write(rpc.WatchRequest(create_request=create))
                return EtcdWatch(call, self.where, await _read(call))
        except TimeoutError:
            call.cancel()
            raise _failure(grpc.StatusCode.DEADLINE_EXCEEDED, f"nothing within {self._patience:g} s") from None
        except BaseException:
            call.cancel()
            raise

    @property
    def _endpoint(self) -> str:
        return self._settings.endpoints[self._turn % len(self._settings.endpoints)]

    def _member(self) -> Member:
        if self._endpoint not in self._members:
            self._members[self._endpoint] = Member(self._endpoint, self._settings, self._patience)
        return self._members[self._endpoint]


class EtcdWatch:
    """The news of one watch, as they come."""

    def __init__(self, call: Any, where: str, opened: rpc.WatchResponse) -> None:  # noqa: ANN401
        self.opened = opened
        """What the server answered first: its revision, or that it will not have this watch."""
        self._call = call
        self._where = where
        self._reading: asyncio.Future[rpc.WatchResponse] | None = None

    async def read(self, seconds: float | None = None) -> rpc.WatchResponse | None:
        """The next response; None where there is none within that time. Raises `RegistryError` when it has ended."""
        if self._reading is None:
            self._reading = asyncio.ensure_future(_read(self._call))
        done, _ = await asyncio.wait([self._reading], timeout=seconds)
        if not done:
            return None
        reading, self._reading = self._reading, None
        try:
            return reading.result()
        except grpc.aio.AioRpcError as error:
            raise fault(self._where, error) from error

    def close(self) -> None:
        """Ends it."""
        if self._reading is not None:
            self._reading.cancel()
        self._call.cancel()


async def _read(call: Any) -> Any:  # noqa: ANN401
    """The next message of a stream. Raises `AioRpcError`, also where the stream has ended in an orderly way."""
    message = await call.read()
    if message is grpc.aio.EOF:
        code = await call.code()
        ended = grpc.StatusCode.UNAVAILABLE if code is grpc.StatusCode.OK else code
        raise _failure(ended, await call.details() or "it has ended the connection")
    return message


def _failure(code: grpc.StatusCode, details: str) -> grpc.aio.AioRpcError:
    return grpc.aio.AioRpcError(code, grpc.aio.Metadata(), grpc.aio.Metadata(), details)
