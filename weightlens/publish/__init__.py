"""From a finished folder to a model on the Hub: what is sent, what is refused, and why."""
