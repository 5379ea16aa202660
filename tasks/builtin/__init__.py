"""The tasks of almtok, one in each file.

Every module here is imported when a task is first looked up (`tasks/base.py`), and registers one
task. A new file is a new task; nothing else has to name it.
"""
