"""The store on Redis 7 or Valkey: one hash per id, one Lua script per transition."""
