"""breakerbox against nginx on one machine. See docs/PERFORMANCE.md for the method."""

import argparse
import asyncio
import contextlib
import json
import os
import pathlib
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time

PROXY_CPU, LOAD_CPU = "0", "1"
CONNECTIONS = 64
BACKEND, NGINX, GATEWAY, ADMIN = 18081, 18082, 18083, 18084
PATH = "/einstein/platform/v1/models/sfdc_ai__DefaultGPT4Omni/chat-generations"
REQUEST = '{"messages":[{"role":"user","content":"Summarise the open cases of today in one short line, please."}]}'
ANSWER = (
    '{"id":"chatcmpl-1","generationDetails":{"generations":[{"id":"1","role":"assistant","content":"Three open."}],'
    '"parameters":{"model":"gpt-4o","usage":{"completion_tokens":35,"prompt_tokens":91,"total_tokens":126}}}}'
)
KEY = "0123456789abcdef" * 4
TICKS = os.sysconf("SC_CLK_TCK")
CHILDREN = []


def start(command, cpu, **options):
    process = subprocess.Popen(["taskset", "-c", cpu, *command], **options)
    CHILDREN.append(process)
    return process


def stop_all():
    for process in reversed(CHILDREN):
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
    for process in CHILDREN:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(10)
        if process.poll() is None:
            process.kill()


def wait_for(port, deadline=20):
    until = time.monotonic() + deadline
    while time.monotonic() < until:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.05)
    sys.exit(f"nothing listens on port {port}")


def cpu_seconds(pid):
    """User and system time of a process and its threads, from /proc."""
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return int(fields[11]) / TICKS, int(fields[12]) / TICKS


def memory_kib(pid):
    for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1])
    return 0


def children(pid):
    listed = pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [int(child) for child in listed]


def nginx_config(folder, name, port, location):
    text = f"""
daemon off; worker_processes 1; pid {folder}/{name}.pid; error_log {folder}/{name}.err error;
events {{ worker_connections 16384; }}
http {{
  access_log off; client_body_temp_path {folder}/{name}-body; proxy_temp_path {folder}/{name}-proxy;
  fastcgi_temp_path {folder}/a; uwsgi_temp_path {folder}/b; scgi_temp_path {folder}/c;
  keepalive_requests 1000000000; keepalive_timeout 600s;
  upstream backend {{ server 127.0.0.1:{BACKEND}; keepalive 256; keepalive_requests 1000000000; }}
  server {{ listen 127.0.0.1:{port} backlog=4096; {location} }}
}}
"""
    path = folder / f"{name}.conf"
    path.write_text(text)
    return path


def start_nginx(folder, name, port, location, cpu):
    config = nginx_config(folder, name, port, location)
    master = start(["nginx", "-c", str(config), "-p", str(folder)], cpu, stderr=subprocess.DEVNULL)
    wait_for(port)
    return children(master.pid)[0]


def start_gateway(folder, binary, upstream, events="all"):
    import hashlib

    (folder / "breakerbox.toml").write_text(f"""
[listen]
proxy = "127.0.0.1:{GATEWAY}"
admin = "127.0.0.1:{ADMIN}"
workers = 1
[upstreams]
api = "http://127.0.0.1:{upstream}"
org = "http://127.0.0.1:{upstream}"
[ledger]
store = "sqlite:data/breakerbox.db"
events = "{events}"
""")
    (folder / "allocations.toml").write_text(f"""
[pool]
annual_credits = 1_000_000_000_000
annual_cost = {{ amount = "5000000000.00", currency = "USD" }}
contract_start = "2026-01-01"
time_zone = "UTC"
central_buffer = "15%"
burst = "15%"
rate_card = "flex-2026-08"
unattributed = "refuse"
[[team]]
name = "bench"
share = "80%"
owner = "bench@example.com"
[[key]]
name = "bench"
sha256 = "{hashlib.sha256(KEY.encode()).hexdigest()}"
team = "bench"
""")
    log = open(folder / "gateway.log", "w")
    process = start([binary, "serve", "--config", str(folder / "breakerbox.toml")], PROXY_CPU, stdout=log, stderr=log)
    wait_for(GATEWAY)
    return process.pid


def wrk_script(folder):
    path = folder / "post.lua"
    headers = {"Content-Type": "application/json", "Authorization": "Bearer x", "Breakerbox-Key": KEY}
    lines = [f'wrk.method = "POST"', f"wrk.body = {json.dumps(REQUEST)}"]
    lines += [f'wrk.headers["{name}"] = "{value}"' for name, value in headers.items()]
    lines.append("done = function(s, l, r) io.stderr:write(string.format('%d %d %d %d %d %d', s.requests, "
                 "s.duration, s.errors.status, s.errors.connect + s.errors.read + s.errors.write + s.errors.timeout, "
                 "l:percentile(50), l:percentile(99))) end")
    path.write_text("\n".join(lines))
    return path


def load(port, script, seconds):
    command = ["taskset", "-c", LOAD_CPU, "wrk", "-t1", f"-c{CONNECTIONS}", f"-d{seconds}s", "-s", str(script),
               f"http://127.0.0.1:{port}{PATH}"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    requests, duration, status, broken, p50, p99 = map(int, done.stderr.split())
    if status or broken:
        sys.exit(f"{status} error answers and {broken} broken connections on port {port}: {done.stdout}")
    return requests, duration / 1e6, p50, p99


def row(name, values, unit):
    low, middle, high = min(values), statistics.median(values), max(values)
    print(f"{name:44} min {low:8.2f}  median {middle:8.2f}  max {high:8.2f} {unit}")
    return low, middle


def compare_cpu(folder, binary, rounds, seconds):
    answer = ANSWER.replace("'", "\\'")
    location = f"location / {{ default_type application/json; return 200 '{answer}'; }}"
    start_nginx(folder, "backend", BACKEND, location, LOAD_CPU)
    proxying = "location / { proxy_pass http://backend; proxy_http_version 1.1; proxy_set_header Connection ''; proxy_buffering off; }"
    pids = {
        "nginx": (NGINX, start_nginx(folder, "proxy", NGINX, proxying, PROXY_CPU)),
        "breakerbox": (GATEWAY, start_gateway(folder, binary, BACKEND)),
    }
    script = wrk_script(folder)
    figures = {name: {"cpu": [], "user": [], "sys": [], "rate": []} for name in pids}
    for round_ in range(rounds + 1):
        for name, (port, pid) in pids.items():
            user, system = cpu_seconds(pid)
            requests, took, _, _ = load(port, script, seconds)
            after_user, after_system = cpu_seconds(pid)
            if round_ == 0:
                continue  # warm-up
            per = 1e6 / requests
            figures[name]["user"].append((after_user - user) * per)
            figures[name]["sys"].append((after_system - system) * per)
            figures[name]["cpu"].append((after_user - user + after_system - system) * per)
            figures[name]["rate"].append(requests / took / 1000)
    print(f"\nCPU per request, {rounds} interleaved rounds of {seconds} s, {CONNECTIONS} keep-alive connections,"
          f" {len(REQUEST)}-byte POSTs, {len(ANSWER)}-byte answers")
    lows, medians = {}, {}
    for name, figure in figures.items():
        lows[name], medians[name] = row(f"{name}: user + sys", figure["cpu"], "us/request")
        row(f"{name}: user", figure["user"], "us/request")
        row(f"{name}: sys", figure["sys"], "us/request")
        row(f"{name}: throughput", figure["rate"], "k requests/s")
    pairs = [ours / theirs for ours, theirs in zip(figures["breakerbox"]["cpu"], figures["nginx"]["cpu"])]
    row("ratio breakerbox/nginx, round by round", pairs, "")
    print(f"ratio of minima {lows['breakerbox'] / lows['nginx']:.2f}, of medians {medians['breakerbox'] / medians['nginx']:.2f}")


async def one_call(reader, writer, request):
    writer.write(request)
    head = await reader.readuntil(b"\r\n\r\n")
    if not head.startswith(b"HTTP/1.1 200"):
        raise RuntimeError(head.split(b"\r\n")[0])
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            await reader.readexactly(int(line.split(b":")[1]))


async def open_loop(port, rate, seconds):
    """Calls start on time whether or not earlier ones are done; latency counts from the scheduled start."""
    head = (f"POST {PATH} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nBreakerbox-Key: {KEY}\r\n"
            f"Content-Length: {len(REQUEST)}\r\n\r\n{REQUEST}").encode()
    idle, latencies = [], []

    async def call(due):
        pair = idle.pop() if idle else await asyncio.open_connection("127.0.0.1", port)
        await one_call(*pair, head)
        latencies.append(time.perf_counter() - due)
        idle.append(pair)

    begin, tasks = time.perf_counter(), []
    for at in range(int(rate * seconds)):
        due = begin + at / rate
        await asyncio.sleep(max(0, due - time.perf_counter()))
        tasks.append(asyncio.ensure_future(call(due)))
    await asyncio.gather(*tasks)
    for _, writer in idle:
        writer.close()
    latencies = sorted(latencies[len(latencies) // 10:])
    return [1e6 * latencies[int(len(latencies) * p)] for p in (0.5, 0.99)]


def compare_latency(folder, binary, rate, seconds):
    answer = ANSWER.replace("'", "\\'")
    location = f"location / {{ default_type application/json; return 200 '{answer}'; }}"
    start_nginx(folder, "backend", BACKEND, location, LOAD_CPU)
    proxying = "location / { proxy_pass http://backend; proxy_http_version 1.1; proxy_set_header Connection ''; proxy_buffering off; }"
    start_nginx(folder, "proxy", NGINX, proxying, PROXY_CPU)
    start_gateway(folder, binary, BACKEND)
    os.sched_setaffinity(0, {int(LOAD_CPU)})
    rounds = {name: [] for name in ("direct", "nginx", "breakerbox")}
    for _ in range(5):
        for name, port in (("direct", BACKEND), ("nginx", NGINX), ("breakerbox", GATEWAY)):
            rounds[name].append(asyncio.run(open_loop(port, rate, seconds)))
    print(f"\nClient-observed latency at {rate} calls/s, open loop, 5 rounds of {seconds} s (load and backend on one core)")
    for name, figures in rounds.items():
        p50, p99 = (statistics.median(values) for values in zip(*figures))
        base50, base99 = (statistics.median(values) for values in zip(*rounds["direct"]))
        print(f"{name:12} p50 {p50:8.0f} us  p99 {p99:8.0f} us   added p50 {p50 - base50:6.0f}  p99 {p99 - base99:6.0f}")


def compare_memory(folder, binary, connections, streams):
    with contextlib.suppress(Exception):
        import resource

        resource.setrlimit(resource.RLIMIT_NOFILE, (65536, 65536))
    sse = start([sys.executable, __file__, "--sse-upstream", str(BACKEND)], LOAD_CPU)
    wait_for(BACKEND)
    pid = start_gateway(folder, binary, BACKEND)
    print(f"\nmemory (VmRSS) idle                       {memory_kib(pid):8} KiB")
    base, held = memory_kib(pid), []
    for _ in range(connections):
        held.append(socket.create_connection(("127.0.0.1", GATEWAY)))
    time.sleep(2)
    used = memory_kib(pid)
    print(f"with {connections} idle connections               {used:8} KiB  {(used - base) * 1024 / connections:8.0f} bytes each")
    for connection in held:
        connection.close()
    held.clear()
    CHILDREN[-1].terminate()  # a fresh process: freed memory is not always given back to the system
    CHILDREN[-1].wait(20)
    pid = start_gateway(folder, binary, BACKEND)
    base = memory_kib(pid)
    body = '{"message":{"sequenceId":1,"type":"Text","text":"go"}}'
    for at in range(streams):  # one turn a session at a time
        path = f"/einstein/ai-agent/v1/sessions/bench-{at}/messages/stream"
        request = (f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
                   f"Accept: text/event-stream\r\nBreakerbox-Key: {KEY}\r\nContent-Length: {len(body)}\r\n\r\n{body}")
        connection = socket.create_connection(("127.0.0.1", GATEWAY))
        connection.sendall(request.encode())
        held.append(connection)
    for connection in held:
        connection.settimeout(20)
        if not connection.recv(4096).startswith(b"HTTP/1.1 200"):
            sys.exit("a stream was refused")
    time.sleep(2)
    used = memory_kib(pid)
    print(f"with {streams} open SSE streams               {used:8} KiB  {(used - base) * 1024 / streams:8.0f} bytes each")
    sse.terminate()


async def sse_upstream(port):
    """Answers everything with a stream that goes on."""

    async def answer(reader, writer):
        with contextlib.suppress(Exception):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
            event = b'event: TEXT_CHUNK\ndata: {"message":{"type":"TextChunk","message":"Here"}}\n\n'
            while True:
                writer.write(b"%x\r\n%s\r\n" % (len(event), event))
                await writer.drain()
                await asyncio.sleep(5)

    server = await asyncio.start_server(answer, "127.0.0.1", port, backlog=4096)
    await server.serve_forever()


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", nargs="?", choices=["cpu", "latency", "memory", "all"], default="all")
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--seconds", type=int, default=3)
    parser.add_argument("--rate", type=int, default=1000)
    parser.add_argument("--connections", type=int, default=10000)
    parser.add_argument("--streams", type=int, default=2000)
    parser.add_argument("--binary", default="target/release/breakerbox")
    parser.add_argument("--sse-upstream", type=int, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.sse_upstream:
        with contextlib.suppress(Exception):
            import resource

            resource.setrlimit(resource.RLIMIT_NOFILE, (65536, 65536))
        asyncio.run(sse_upstream(args.sse_upstream))
        return
    for tool in ("nginx", "wrk", "taskset"):
        if not shutil.which(tool):
            sys.exit(f"{tool} is missing; on Debian: apt-get install nginx-light wrk util-linux")
    if not os.path.exists(args.binary):
        sys.exit("build first: cargo build --release")
    parts = {
        "cpu": lambda folder: compare_cpu(folder, args.binary, args.rounds, args.seconds),
        "latency": lambda folder: compare_latency(folder, args.binary, args.rate, args.seconds),
        "memory": lambda folder: compare_memory(folder, args.binary, args.connections, args.streams),
    }
    for name, part in parts.items():
        if args.what not in (name, "all"):
            continue
        with tempfile.TemporaryDirectory(prefix="breakerbox-compare-") as folder:
            try:
                part(pathlib.Path(folder))
            finally:
                stop_all()
                CHILDREN.clear()


if __name__ == "__main__":
    main()
