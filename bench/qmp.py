# SPDX-License-Identifier: GPL-2.0-or-later
"""One QEMU's monitor: commands, and events with QEMU's own time stamps.

QEMU connects to us, not we to it: a destination of cpr-transfer has no monitor before the source
has begun, and its first event must not be missed. So the capabilities are negotiated by a thread
of the monitor's own as soon as the connection is there.
"""
import json
import socket
import threading
import time

WAIT_S = 90


class QmpError(Exception):
    pass


class Monitor:
    def __init__(self, path):
        self.path = path
        self.process = None  # whose monitor it is, when it has been started
        self.events = []  # (name, data, seconds since the epoch)
        self._replies = []
        self._changed = threading.Condition()
        self._ended = None
        self._connected = False
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(path)
        self._listener.listen(1)
        self._socket = None
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self):
        try:
            self._socket, _ = self._listener.accept()
            self._socket.sendall(b'{"execute": "qmp_capabilities", "id": 0}\n')
            with self._socket.makefile('rb') as lines:
                for line in lines:
                    self._take(json.loads(line))
            self._end('the monitor was closed')
        except (OSError, ValueError) as error:
            self._end(str(error))

    def _end(self, why):
        with self._changed:
            self._ended = why
            self._changed.notify_all()

    def _take(self, message):
        with self._changed:
            if 'event' in message:
                stamp = message['timestamp']
                at = stamp['seconds'] + stamp['microseconds'] / 1e6
                self.events.append((message['event'], message.get('data', {}), at))
            elif message.get('id') == 0:
                self._connected = True
            elif 'return' in message or 'error' in message:
                self._replies.append(message)
            self._changed.notify_all()

    def _wait(self, test, what, wait_s=WAIT_S):
        end = time.monotonic() + wait_s
        with self._changed:
            while True:
                found = test()
                if found:
                    return found
                left = end - time.monotonic()
                if self._ended:
                    raise QmpError(f'{what}: {self._ended}')
                if self.process and self.process.poll() is not None:
                    raise QmpError(f'{what}: QEMU ended with status {self.process.returncode}')
                if left <= 0:
                    raise QmpError(f'{what}: nothing after {wait_s} s')
                self._changed.wait(min(left, 0.2))

    def connected(self):
        self._wait(lambda: self._connected, 'QEMU does not connect to its monitor')

    def command(self, name, **arguments):
        """Underscores in an argument's name stand for what QMP has there."""
        self.connected()
        request = {'execute': name, 'id': name}
        if arguments:
            request['arguments'] = {k.replace('_', '-'): v for k, v in arguments.items()}
        self._socket.sendall(json.dumps(request).encode() + b'\n')
        reply = self._wait(lambda: self._replies and self._replies.pop(0), name)
        if 'error' in reply:
            raise QmpError(f"{name}: {reply['error']['desc']}")
        return reply['return']

    def event(self, names, since=0, wait_s=WAIT_S, **data):
        """Seconds since the epoch of the first of these events after @since with that @data."""
        names = (names,) if isinstance(names, str) else names

        def find():
            for name, got, at in self.events:
                if name in names and at >= since and data.items() <= got.items():
                    return at
            return None
        return self._wait(find, f"no {' or '.join(names)} came", wait_s)

    def close(self):
        for each in (self._socket, self._listener):
            if each:
                each.close()
