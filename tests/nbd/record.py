"""What an NBD client was told: for each block of a volume what it may hold after a crash. Writers that keep the record, and its proof.

A block's history is the list of the states it was given, oldest first. After a crash it shows exactly one of them: not an older one than the last that was
flushed (a flush was answered that was sent after the write's answer; or the write had FUA and was answered), none that was never sent, no mixture.
Every 512 bytes carry block, sector and version, so that each state differs from every other one, and what is wrong can be told."""

import random
import struct
import threading

from volume import TestFailure, nbd

BLOCK = 8192
SECTOR = 512
SECTORS = BLOCK // SECTOR
STAMP = struct.Struct('<IIQ')
ZERO = b'\0' * SECTOR
RUN_BLOCKS = 70         # the longest request: more than one piece of the plugin's


def sector_bytes(block, sector, version):
    return ZERO if version == 0 else STAMP.pack(block, sector, version) * (SECTOR // STAMP.size)


def block_bytes(block, state):
    return b''.join(sector_bytes(block, sector, version) for sector, version in enumerate(state))


def tell(data):
    """What the bytes of a block show, as text for a message."""
    stamps = [STAMP.unpack_from(data, at) for at in range(0, BLOCK, SECTOR)]
    versions = [version for _, _, version in stamps]
    places = {(block, sector - at) for at, (block, sector, version) in enumerate(stamps) if version}
    return f'versions {versions}' + (f' of places {sorted(places)[:3]}' if len(places) > 1 else '')


class History:
    """Of one block. States are numbered from its beginning; `states` has those since the one that is durable."""

    def __init__(self):
        self.states = [(0,) * SECTORS]
        self.durable = 0    # number of states[0]
        self.answered = 0   # number of the last state that the client was told of

    @property
    def sent(self):
        return self.durable + len(self.states) - 1

    def send(self, sectors, version):
        state = list(self.states[-1])
        state[sectors.start:sectors.stop] = [version] * len(sectors)
        self.states.append(tuple(state))
        return self.sent

    def set_durable(self, number):
        if number > self.durable:
            del self.states[:number - self.durable]
            self.durable = number

    def number_of(self, block, data):
        """Which state the bytes are, the latest if several; None: none of those that are allowed."""
        for at in range(len(self.states) - 1, -1, -1):
            if block_bytes(block, self.states[at]) == data:
                return self.durable + at
        return None


class Record:
    def __init__(self, blocks):
        self.histories = [History() for _ in range(blocks)]
        self.lock = threading.Lock()
        self.version = 0
        self.dirty = set()      # blocks with answers that no flush covers
        self.flushes = self.requests = 0

    def next_version(self):
        with self.lock:
            self.version += 1
            self.requests += 1
            return self.version

    def send(self, first_sector, sectors, version):
        """A change of these sectors is about to be sent. Returns what to give to `answer`."""
        sent = []
        with self.lock:
            end = first_sector + sectors
            for block in range(first_sector // SECTORS, (end - 1) // SECTORS + 1):
                inside = range(max(first_sector - block * SECTORS, 0), min(end - block * SECTORS, SECTORS))
                sent.append((block, self.histories[block].send(inside, version)))
        return sent

    def answer(self, sent, durable):
        with self.lock:
            for block, number in sent:
                self.histories[block].answered = number
                if durable:
                    self.histories[block].set_durable(number)
                else:
                    self.dirty.add(block)

    def flush_sent(self):
        with self.lock:
            return [(block, self.histories[block].answered) for block in self.dirty]

    def flush_answered(self, covered):
        with self.lock:
            self.flushes += 1
            for block, number in covered:
                self.histories[block].set_durable(number)
                if self.histories[block].answered == number:
                    self.dirty.discard(block)

    def must_show(self):
        """For a snapshot made from now on: at least this of each block."""
        with self.lock:
            return [history.answered for history in self.histories]

    def states_now(self):
        """All that each block may show now or has shown since it was durable: (number of the first, states)."""
        with self.lock:
            return [(history.durable, list(history.states)) for history in self.histories]

    # ---- proof

    def verify(self, read, what, answered=False, durable=True):
        """`read(offset, size)`: the volume now. `answered`: nothing crashed below, so every answer counts, not only flushes.
        From here on what is seen is what was written; `durable`: it has survived a crash. Returns how many blocks lost unflushed writes."""
        lost = 0
        for block, data in blocks_of(read, len(self.histories)):
            history = self.histories[block]
            number = history.number_of(block, data)
            if number is None:
                raise TestFailure(f'{what}: block {block} shows {tell(data)}; allowed are, oldest (durable) first: '
                                  f'{[sorted(set(state)) for state in history.states]}')
            if answered and number < history.answered:
                raise TestFailure(f'{what}: block {block} shows state {number}, but {history.answered} was answered')
            lost += number < history.answered
            del history.states[number - history.durable + 1:]
            history.answered = number
            if durable:
                history.set_durable(number)
        if durable:
            self.dirty.clear()
        return lost


def blocks_of(read, blocks):
    step = 128
    for first in range(0, blocks, step):
        count = min(step, blocks - first)
        data = bytes(read(first * BLOCK, count * BLOCK))
        for at in range(count):
            yield first + at, data[at * BLOCK:(at + 1) * BLOCK]


class Writers:
    """Clients with a connection each, which change their own part of the volume, flush it all now and then, and read what they wrote."""

    def __init__(self, record, connect, clients, rng):
        self.record = record
        self.connect = connect
        self.clients = clients
        self.seeds = rng
        self.flush_chance = 0
        self.threads = []
        self.ending = threading.Event()
        self.errors = []        # of requests
        self.wrong = []         # answers that are not true

    def start(self):
        self.ending.clear()
        self.errors, self.wrong = [], []
        # Few flushes: then much depends on FUA alone.
        self.flush_chance = self.seeds.choice([0.004, 0.06])
        share = len(self.record.histories) // self.clients
        self.threads = [threading.Thread(target=self._client, args=(range(c * share, (c + 1) * share), self.seeds.getrandbits(32)), daemon=True)
                        for c in range(self.clients)]
        for thread in self.threads:
            thread.start()

    def _client(self, blocks, seed):
        rng = random.Random(seed)
        try:
            with_server = self.connect()
            while not self.ending.is_set():
                self._one(with_server, blocks, rng)
        except nbd.Error as e:
            self.errors.append(str(e))
        except TestFailure as e:
            self.wrong.append(str(e))

    def _one(self, server, blocks, rng):
        choice = rng.random()
        if choice < self.flush_chance:
            covered = self.record.flush_sent()
            server.flush()
            self.record.flush_answered(covered)
        elif choice < 0.09:
            self._map(server, blocks)
        elif choice < 0.25:
            self._read(server, blocks, rng)
        else:
            self._change(server, blocks, rng, choice)

    def _read(self, server, blocks, rng):
        first = rng.choice(blocks)
        count = min(rng.choice([1, 1, 3, 40]), blocks.stop - first)
        data = bytes(server.pread(count * BLOCK, first * BLOCK))
        for at in range(count):
            expected = block_bytes(first + at, self.record.histories[first + at].states[-1])
            if data[at * BLOCK:(at + 1) * BLOCK] != expected:
                raise TestFailure(f'block {first + at} reads as {tell(data[at * BLOCK:(at + 1) * BLOCK])}, and was answered as {tell(expected)}')

    def _map(self, server, blocks):
        """What is told to be a hole is zero. The whole volume is asked for, while others change their parts of it."""
        extents = []
        server.block_status(len(self.record.histories) * BLOCK, 0, lambda context, offset, entries, error: extents.extend(entries) or 0)
        at = 0
        for length, flags in zip(extents[::2], extents[1::2]):
            inside = range(max(-(-at // BLOCK), blocks.start), min((at + length) // BLOCK, blocks.stop)) if flags & nbd.STATE_ZERO else []
            for block in inside:
                if any(self.record.histories[block].states[-1]):
                    raise TestFailure(f'block {block} is told to be a hole, and was answered as {tell(block_bytes(block, self.record.histories[block].states[-1]))}')
            at += length

    def _change(self, server, blocks, rng, choice):
        first = rng.choice(blocks) * SECTORS
        end = blocks.stop * SECTORS
        if rng.random() < 0.4:
            first += rng.randrange(SECTORS)
            sectors = min(rng.randint(1, 3 * SECTORS), end - first)
        else:
            sectors = min(rng.choice([1, 1, 1, 2, 5, RUN_BLOCKS]) * SECTORS, end - first)
        fua = rng.random() < 0.15
        flags = nbd.CMD_FLAG_FUA if fua else 0
        size, offset = sectors * SECTOR, first * SECTOR
        version = self.record.next_version()
        if choice < 0.32:
            sent = self.record.send(first, sectors, 0)
            server.zero(size, offset, flags)
        elif choice < 0.38:
            # Whole blocks only: edges stay as they are.
            inner = -(-first // SECTORS) * SECTORS
            whole = (first + sectors) // SECTORS * SECTORS - inner
            sent = self.record.send(inner, whole, 0) if whole > 0 else []
            server.trim(size, offset, flags)
        else:
            sent = self.record.send(first, sectors, version)
            data = b''.join(sector_bytes(at // SECTORS, at % SECTORS, version) for at in range(first, first + sectors))
            server.pwrite(data, offset, flags)
        self.record.answer(sent, fua)

    def stop(self):
        """Wait for them; a request that is not answered is a failure."""
        self.ending.set()
        for thread in self.threads:
            thread.join(60)
            if thread.is_alive():
                raise TestFailure('an NBD request is not answered, and its connection does not end')
        self.threads = []
        if self.wrong:
            raise TestFailure(self.wrong[0])
