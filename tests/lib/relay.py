# SPDX-License-Identifier: Apache-2.0
"""A relay between the masters of a test cluster, which can do to their connections what a bad network does.

Each master is given a second address, where the relay listens and from where it passes bytes on to the master itself; the
second addresses are the ones in --peers. Who dialled is known by the source address of the connection. Runs its own event
loop on a thread of its own; no privileges, no packet filter."""
import asyncio
import threading

CHUNK = 1 << 16


class _Pipe:
    """One connection of master `source` to master `target`: two directions, each copied by a task."""

    def __init__(self, source: int, target: int, near: tuple, far: tuple):
        self.source, self.target = source, target
        self.ends = ((near, far, source, target), (far, near, target, source))

    def abort(self) -> None:
        for (_, writer), *_ in self.ends:
            writer.transport.abort()


class Relay:
    """Relay({index: (address for --peers, master's own address)}, port)."""

    def __init__(self, hosts: dict, port: int):
        self._hosts, self._port = hosts, port
        self._who = {own: index for index, (_, own) in hosts.items()}
        self._pipes = set()
        self._blocked = set()           # (from, to): bytes that are not passed on
        self._healed = None
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._servers = self._call(self._listen())

    def _call(self, coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(10)

    async def _listen(self) -> list:
        self._healed = asyncio.Event()
        return [await asyncio.start_server(lambda r, w, target=index: self._accept(target, r, w), host, self._port)
                for index, (host, _) in self._hosts.items()]

    async def _accept(self, target: int, reader, writer) -> None:
        source = self._who.get(writer.get_extra_info("peername")[0])
        try:
            far = await asyncio.open_connection(self._hosts[target][1], self._port)
        except OSError:
            writer.transport.abort()
            return
        pipe = _Pipe(source, target, (reader, writer), far)
        self._pipes.add(pipe)
        try:
            await asyncio.gather(*(self._copy(*end) for end in pipe.ends))
        except OSError:
            pass
        finally:
            pipe.abort()
            self._pipes.discard(pipe)

    async def _copy(self, end: tuple, other: tuple, source: int, target: int) -> None:
        """Ends with an error when either side ends: a connection of masters has no half."""
        while True:
            while (source, target) in self._blocked:
                healed = self._healed
                await healed.wait()
            data = await end[0].read(CHUNK)
            if not data:
                raise ConnectionResetError
            if (source, target) in self._blocked:   # it was read before the cut: lost only if the connection is
                continue
            other[1].write(data)
            await other[1].drain()

    def drop(self, index: int) -> int:
        """Cuts every connection from and to this master, with a reset at both ends; returns how many. New ones are made at once."""
        async def work() -> int:
            mine = [pipe for pipe in self._pipes if index in (pipe.source, pipe.target)]
            for pipe in mine:
                pipe.abort()
            return len(mine)
        return self._call(work())

    def block(self, pairs) -> None:
        """From now on no byte goes from `a` to `b` for each (a, b) of `pairs`; connections stay, and new ones are still accepted."""
        async def work() -> None:
            self._blocked |= set(pairs)
        self._call(work())

    def heal(self) -> None:
        """Ends every block. What was cut in the middle of a byte stream cannot go on, so those connections are dropped."""
        async def work() -> None:
            hurt = [pipe for pipe in self._pipes
                    if (pipe.source, pipe.target) in self._blocked or (pipe.target, pipe.source) in self._blocked]
            self._blocked.clear()
            self._healed.set()
            self._healed = asyncio.Event()
            for pipe in hurt:
                pipe.abort()
        self._call(work())

    def close(self) -> None:
        async def work() -> None:
            for server in self._servers:
                server.close()
            for pipe in list(self._pipes):
                pipe.abort()
        self._call(work())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)
