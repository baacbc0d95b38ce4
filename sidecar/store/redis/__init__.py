"""The store on Redis 7 or Valkey: one key per id, one Lua script per transition."""
