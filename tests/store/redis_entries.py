"""Entries of the Redis store as tests look at them and damage them, in the server's own MessagePack."""

from collections.abc import Mapping

from sidecar.store.redis.store import RedisStore

SHOW = """
local value = redis.call('GET', KEYS[1])
if not value then
  return {}
end
local record_at, entry = cmsgpack.unpack_one(value)
local flat = {}
for name, field in pairs(entry) do
  flat[#flat + 1] = name
  flat[#flat + 1] = type(field) == 'number' and string.format('%.0f', field) or tostring(field)
end
if record_at ~= -1 then
  flat[#flat + 1] = 'record'
  flat[#flat + 1] = string.sub(value, record_at + 1)
end
return flat
"""
PUT = """
local entry = {}
for position = 2, #ARGV, 2 do
  entry[ARGV[position]] = tonumber(ARGV[position + 1]) or ARGV[position + 1]
end
redis.call('SET', KEYS[1], cmsgpack.pack(entry) .. ARGV[1])
"""
CHANGE = """
local value = redis.call('GET', KEYS[1])
local record_at, entry = cmsgpack.unpack_one(value)
entry[ARGV[1]] = tonumber(ARGV[2])
local record = record_at == -1 and '' or string.sub(value, record_at + 1)
redis.call('SET', KEYS[1], cmsgpack.pack(entry) .. record, 'KEEPTTL')
"""


async def command(store: RedisStore, *arguments: str | bytes | int) -> object:
    """What the store's server answers to any command."""
    reply: object = await store._commands.call(arguments)
    return reply


def key(store: RedisStore, id_: str = "id") -> str:
    """Where the store keeps an id."""
    return store._prefix + id_


async def fields(store: RedisStore, id_: str = "id") -> dict[bytes, bytes]:
    """The entry as the server reads it, the record under the name `record`."""
    match await command(store, "EVAL", SHOW, 1, key(store, id_)):
        case list() as flat:
            return dict(zip(flat[::2], flat[1::2], strict=True))
    raise AssertionError("SHOW answers with a list")


async def put(store: RedisStore, entry: Mapping[str, str | int], record: bytes = b"") -> None:
    """Write the entry of `id` as no transition would."""
    pairs = [part for pair in entry.items() for part in pair]
    await command(store, "EVAL", PUT, 1, key(store), record, *pairs)


async def change(store: RedisStore, name: str, number: int, id_: str = "id") -> None:
    """Change one field of an entry and nothing else."""
    await command(store, "EVAL", CHANGE, 1, key(store, id_), name, number)
