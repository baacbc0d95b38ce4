"""Load: who sends the requests, and what came back of them."""
