"""Models that judge saved answers, in a second pass: never while answers are generated.

A judge is a YAML file (judge_file.py: what it is sent, how its verdict is read) and a model that
answers (judge_model.py: on this machine; endpoint.py: behind an OpenAI-compatible one). second_pass
takes it through a file of answers and keeps every verdict, those that cannot be read among them.
"""
