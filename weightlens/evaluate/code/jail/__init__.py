"""What runs on the far side: sent to a bare interpreter as compiled code, standard library only.

Every module here may import the standard library and its siblings and nothing else; `launch.py`
lists them in the order in which they load.
"""
