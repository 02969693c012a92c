"""Something bad between client and server: a proxy that answers, delays, cuts, changes or loses what it is told to.

    with FaultProxy(server.port) as proxy:
        proxy.fault(answer(503), method="PUT", times=2)

A fault is a function of an Exchange (one request of a client). It is used for the first `times` requests that fit; others are passed on. Each
connection serves one request after the other, as long as nothing bad happens to it.
"""
import base64
import hashlib
import socket
import ssl
import struct
import threading
import time


class Gone(Exception):
    """The other side has closed the connection."""


class Pipe:
    """Reads heads and bodies of HTTP from a socket."""

    def __init__(self, sock):
        self.sock = sock
        self.buffer = b""

    def more(self):
        data = self.sock.recv(1 << 16)
        if not data:
            raise Gone()
        self.buffer += data

    def head(self):
        while b"\r\n\r\n" not in self.buffer:
            self.more()
        head, self.buffer = self.buffer.split(b"\r\n\r\n", 1)
        return head + b"\r\n\r\n"

    def body(self, size):
        while len(self.buffer) < size:
            self.more()
        body, self.buffer = self.buffer[:size], self.buffer[size:]
        return body


def header(head, name):
    """The value of a header, or None."""
    for line in head.decode("latin-1").split("\r\n")[1:]:
        key, _, value = line.partition(":")
        if key.strip().lower() == name:
            return value.strip()
    return None


def with_header(head, name, value):
    """The head with that header set to `value`, or taken out with None."""
    lines = [line for line in head[:-4].split(b"\r\n") if not line.lower().startswith(name.encode() + b":")]
    if value is not None:
        lines.append(f"{name}: {value}".encode())
    return b"\r\n".join(lines) + b"\r\n\r\n"


class Exchange:
    """One request, and what a fault may do with it."""

    def __init__(self, proxy, pipe):
        self.proxy, self.pipe, self.sock = proxy, pipe, pipe.sock
        self.head = pipe.head()
        self.method, self.target = self.head.decode("latin-1").split(" ")[:2]
        self.size = int(header(self.head, "content-length") or 0)
        self.expects = (header(self.head, "expect") or "").lower() == "100-continue"
        self.body = None

    def take_body(self):
        if self.body is None:
            if self.expects:
                self.sock.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
            self.body = self.pipe.body(self.size)
        return self.body

    def forward(self, body=None):
        """The server's answer: head and body."""
        body = self.take_body() if body is None else body
        with socket.create_connection(("127.0.0.1", self.proxy.upstream)) as upstream:
            head = with_header(with_header(self.head, "expect", None), "connection", "close")
            upstream.sendall(head + body)
            pipe = Pipe(upstream)
            answer = pipe.head()
            size = header(answer, "content-length")
            if self.method == "HEAD" or b" 204 " in answer.split(b"\r\n")[0] or size == "0":
                return answer, b""
            if size is not None:
                return answer, pipe.body(int(size))
            chunks = b""
            if (header(answer, "transfer-encoding") or "") == "chunked":
                while True:
                    while b"\r\n" not in pipe.buffer:
                        pipe.more()
                    line, pipe.buffer = pipe.buffer.split(b"\r\n", 1)
                    count = int(line.split(b";")[0], 16)
                    chunks += pipe.body(count)
                    pipe.body(2)
                    if count == 0:
                        break
            else:
                try:
                    while True:
                        pipe.more()
                except Gone:
                    chunks = pipe.buffer
            return with_header(with_header(answer, "transfer-encoding", None), "content-length", len(chunks)), chunks

    def send(self, head, body):
        self.sock.sendall(with_header(head, "connection", None) + body)

    def reset(self):
        """Close so that the other side gets a reset, not an end."""
        raw = self.sock
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        raw.close()
        raise Gone()

    def end(self):
        raise Gone()


# ---------------------------------------------------------------- faults


def passed_on(exchange):
    exchange.send(*exchange.forward())


def answer(status, code=None, headers="", message="said the test"):
    """Answer without asking the server; the body is read first, as a server does that has sent "100 Continue"."""
    body = f"<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>{message}</Message></Error>".encode() if code else b""

    def fault(exchange):
        exchange.take_body()
        text = b"" if exchange.method == "HEAD" else body
        exchange.send(f"HTTP/1.1 {status} Fault\r\nContent-Length: {len(text)}\r\n{headers}\r\n".encode(), text)
    return fault


def answer_early(status):
    """Answer before the body was read, and close."""
    def fault(exchange):
        exchange.send(f"HTTP/1.1 {status} Fault\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode(), b"")
        exchange.end()
    return fault


def reset_before(exchange):
    exchange.reset()


def reset_in_body(exchange):
    """In the middle of a request's body."""
    if exchange.expects:
        exchange.sock.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
    exchange.pipe.body(exchange.size // 2)
    exchange.reset()


def lost_answer(exchange):
    """The server does it, and nobody is told."""
    exchange.forward()
    exchange.reset()


def cut_answer(exchange):
    head, body = exchange.forward()
    exchange.sock.sendall(head + body[:len(body) // 2])
    exchange.end()


def short_answer(exchange):
    """Half of the body, with a length that agrees."""
    head, body = exchange.forward()
    body = body[:len(body) // 2]
    exchange.send(with_header(head, "content-length", len(body)), body)


def wrong_answer(exchange):
    """One bit of the body is another one."""
    head, body = exchange.forward()
    if body:
        middle = len(body) // 2
        body = body[:middle] + bytes([body[middle] ^ 1]) + body[middle + 1:]
    exchange.send(head, body)


def wrong_request(exchange):
    """The server gets another bit than was sent."""
    body = exchange.take_body()
    exchange.send(*exchange.forward(body[:-1] + bytes([body[-1] ^ 1]) if body else body))


def with_checksum(wrong_bit=0, md5=True):
    """As a store that keeps a SHA-256: the answer says that of what came, with another bit if asked to. Without `md5` it fails what has one."""
    def fault(exchange):
        body = exchange.take_body()
        claimed = base64.b64encode(hashlib.sha256(body).digest()).decode()
        if header(exchange.head, "x-amz-checksum-sha256") != claimed or (not md5 and header(exchange.head, "content-md5")):
            answer(400, "Unexpected")(exchange)
            return
        stored = body[:-1] + bytes([body[-1] ^ wrong_bit])
        head, body = exchange.forward()
        said = base64.b64encode(hashlib.sha256(stored).digest()).decode()
        exchange.send(with_header(with_header(head, "x-amz-checksum-sha256", said), "etag", '"0123456789abcdef0123456789abcdef"'), body)
    return fault


def garbage(exchange):
    exchange.take_body()
    exchange.sock.sendall(b"\x00\x01\x02 this is no HTTP at all\r\n\r\n")
    exchange.end()


def replaced(body, status=200):
    def fault(exchange):
        exchange.take_body()
        exchange.send(f"HTTP/1.1 {status} OK\r\nContent-Length: {len(body)}\r\n\r\n".encode(), body)
    return fault


def slow_answer(bytes_per_second):
    """The answer's body comes in drops."""
    def fault(exchange):
        head, body = exchange.forward()
        exchange.sock.sendall(head)
        step = max(1, bytes_per_second // 20)
        for at in range(0, len(body), step):
            if exchange.proxy.ending.wait(0.05):
                exchange.end()
            exchange.sock.sendall(body[at:at + step])
    return fault


def black_hole(exchange):
    """Everything is taken, nothing is said."""
    while not exchange.proxy.ending.wait(0.02):
        exchange.sock.settimeout(0.01)
        try:
            if not exchange.sock.recv(1 << 16):
                break
        except TimeoutError:
            pass
    exchange.end()


def late(seconds):
    """The right answer, after a while."""
    def fault(exchange):
        answer_head, body = exchange.forward()
        exchange.proxy.ending.wait(seconds)
        exchange.send(answer_head, body)
    return fault


# ----------------------------------------------------------------- proxy


class FaultProxy:
    def __init__(self, upstream, certificate=None):
        """`certificate`: a file with a certificate and its key; the proxy speaks TLS then."""
        self.upstream = upstream
        self.faults = []
        self.seen = []  # (method, target) of each request
        self.running = 0
        self.most = 0  # requests at a time, at most
        self.lock = threading.Lock()
        self.ending = threading.Event()
        self.tls = None
        if certificate:
            self.tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self.tls.load_cert_chain(certificate)
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port = self.listener.getsockname()[1]
        self.endpoint = f"{'https' if certificate else 'http'}://127.0.0.1:{self.port}"
        self.thread = threading.Thread(target=self.accept, daemon=True)
        self.thread.start()

    def fault(self, what, method=None, part=None, times=1):
        """`what` for the next `times` requests with this method, and `part` in their target."""
        with self.lock:
            self.faults.append([what, method, part, times])

    def clear(self):
        with self.lock:
            self.faults.clear()
            self.seen.clear()
            self.most = 0

    def count(self, method=None, part=None):
        with self.lock:
            return sum(1 for seen, target in self.seen if (method in (None, seen)) and (part is None or part in target))

    def pick(self, exchange):
        with self.lock:
            self.seen.append((exchange.method, exchange.target))
            for fault in self.faults:
                what, method, part, times = fault
                if times > 0 and method in (None, exchange.method) and (part is None or part in exchange.target):
                    fault[3] -= 1
                    return what
        return passed_on

    def accept(self):
        while not self.ending.is_set():
            try:
                sock, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self.serve, args=(sock,), daemon=True).start()

    def serve(self, sock):
        try:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self.tls:
                sock = self.tls.wrap_socket(sock, server_side=True)
            pipe = Pipe(sock)
            while not self.ending.is_set():
                exchange = Exchange(self, pipe)
                with self.lock:
                    self.running += 1
                    self.most = max(self.most, self.running)
                try:
                    self.pick(exchange)(exchange)
                finally:
                    with self.lock:
                        self.running -= 1
        except (Gone, OSError, ssl.SSLError):
            pass
        finally:
            sock.close()

    def stop(self):
        self.ending.set()
        self.listener.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()


def free_port():
    """A port where nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return probe.getsockname()[1]


def wait_seen(proxy, count, seconds=20, **which):
    until = time.monotonic() + seconds
    while proxy.count(**which) < count:
        if time.monotonic() > until:
            return False
        time.sleep(0.01)
    return True
