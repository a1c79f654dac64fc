#!/usr/bin/env python3
"""A wire between two network devices, for a kernel without netem: hands every frame of one to the other
after a delay, but for those that it loses.

wire.py DEVICE DEVICE DELAY_MS LOSS_PERCENT    until it is killed; says "ready" when frames are handed on
"""

import heapq
import random
import select
import socket
import sys
import time

SOL_PACKET, PACKET_VNET_HDR, PACKET_IGNORE_OUTGOING = 263, 15, 23
ALL_PROTOCOLS = 3


def open_device(name):
    device = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ALL_PROTOCOLS))
    # With each frame what its sender left to the device: cutting it up, and its checksum.
    device.setsockopt(SOL_PACKET, PACKET_VNET_HDR, 1)
    device.setsockopt(SOL_PACKET, PACKET_IGNORE_OUTGOING, 1)
    device.bind((name, 0))
    device.setblocking(False)
    return device


def main():
    first, second = (open_device(name) for name in sys.argv[1:3])
    delay, loss = float(sys.argv[3]) / 1000, float(sys.argv[4]) / 100
    chance = random.Random(1)
    other = {first: second, second: first}
    travelling = []  # (when it arrives, number, device, frame)
    number = 0
    print("ready", flush=True)
    while True:
        wait = max(0, travelling[0][0] - time.monotonic()) if travelling else None
        for device in select.select([first, second], [], [], wait)[0]:
            frame = device.recv(1 << 17)
            if chance.random() >= loss:
                number += 1
                heapq.heappush(travelling, (time.monotonic() + delay, number, other[device], frame))
        while travelling and travelling[0][0] <= time.monotonic():
            _, _, device, frame = heapq.heappop(travelling)
            try:
                device.send(frame)
            except OSError:  # full, or down: lost
                pass


if __name__ == "__main__":
    main()
