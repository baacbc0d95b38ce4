"""Processes that belong together: started and stopped in order, restarted when dead, never left behind."""
