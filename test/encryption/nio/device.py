"""A device at matrix-nio. A test tells it what to do, as it does with js/device.mjs."""

import asyncio
import json
import logging
import sys

from nio import AsyncClient, AsyncClientConfig, LoginResponse, MegolmEvent, RoomMessageText, RoomSendResponse

logging.disable(logging.CRITICAL)


class Device:
    def __init__(self):
        self.client = None
        self.events = {}  # encrypted ones, by id, as far as they could be decrypted

    async def login(self, url, user, password, directory):
        # Unlimited attempts: a server that is away comes back.
        config = AsyncClientConfig(max_timeouts=None, max_timeout_retry_wait_time=0.5, request_timeout=30)
        self.client = AsyncClient(url, user, store_path=directory, config=config)
        answer = await self.client.login(password, device_name="matrix-nio")
        if not isinstance(answer, LoginResponse):
            raise RuntimeError(f"log in: {answer}")
        self.client.add_event_callback(self.keep, (MegolmEvent, RoomMessageText))
        first = asyncio.Event()

        async def synced(_):
            first.set()

        self.client.add_response_callback(synced)
        self.loop = asyncio.create_task(self.sync())
        await first.wait()
        return {"user": self.client.user_id, "device": self.client.device_id, "token": self.client.access_token}

    async def sync(self):
        limit = {"room": {"timeline": {"limit": 200}}}
        while True:
            try:
                await self.client.sync_forever(timeout=10000, sync_filter=limit, full_state=self.client.next_batch is None)
            except Exception as e:  # the server was killed
                print("sync:", repr(e), file=sys.stderr)
            await asyncio.sleep(0.2)

    async def keep(self, room, event):
        event.room_id = room.room_id
        if isinstance(event, MegolmEvent) or event.decrypted:
            self.events[event.event_id] = event

    async def devices(self, user):
        return [d.id for d in self.client.device_store.active_user_devices(user)]

    async def ready(self, room, members):
        found = self.client.rooms.get(room)
        return found is not None and found.encrypted and found.joined_count == members and len(found.users) >= members

    async def send(self, room, body):
        answer = await self.client.room_send(
            room, "m.room.message", {"msgtype": "m.text", "body": body}, ignore_unverified_devices=True
        )
        if not isinstance(answer, RoomSendResponse):
            raise RuntimeError(f"send: {answer}")
        return answer.event_id

    async def read(self, room):
        shown = {}
        for event_id, event in self.events.items():
            if event.room_id != room:
                continue
            error = "NOT_DECRYPTED"
            if isinstance(event, MegolmEvent):
                try:
                    plain = self.client.decrypt_event(event)
                    plain.room_id = room
                    self.events[event_id] = event = plain
                except Exception as e:
                    error = repr(e)
            if isinstance(event, MegolmEvent):
                shown[event_id] = {"session": event.session_id, "error": error}
            else:
                shown[event_id] = {"session": event.session_id, "body": getattr(event, "body", "")}
        return shown

    async def wake(self):
        return None


async def main():
    device = Device()
    loop = asyncio.get_running_loop()

    async def run(request):
        answer = {"id": request["id"]}
        try:
            answer["result"] = await getattr(device, request["do"])(**(request.get("args") or {}))
        except Exception as e:
            answer["error"] = repr(e)
        print(json.dumps(answer), flush=True)

    tasks = set()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        task = asyncio.create_task(run(json.loads(line)))
        tasks.add(task)
        task.add_done_callback(tasks.discard)


asyncio.run(main())
