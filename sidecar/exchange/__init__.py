"""One HTTP exchange, sans I/O: events in, effects out.

`states.py` holds every transition in one table; `machine.py` carries them out. Nothing here does I/O, reads
a clock or draws a random number, so the same events always give the same effects.
"""
