"""A process of its own for decoding and inference: killable, confined, keeping nothing; and the host that starts it.

`host.WorkerHost` is what there is to use. Read `messages` for what the two say to each other, `child` for the one
side and `process` and `host` for the other. Importing this loads nothing: the child confines itself first.
"""
