"""Runs a test on an event loop whose clock jumps to what comes next."""

import asyncio
import functools

import looptime

LIMIT_SECONDS = 10_000


def in_virtual_time(test):
    @functools.wraps(test)
    def run():
        loop = looptime.new_event_loop()
        loop.setup_looptime()
        try:
            loop.run_until_complete(asyncio.wait_for(test(), LIMIT_SECONDS))
        finally:
            loop.close()

    return run


def now():
    return asyncio.get_running_loop().time()
