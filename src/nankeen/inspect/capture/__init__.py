"""Capturing packets: at which points, in what order, and how they are told.

What decides is pure: `application` and `words` say what a packet is, `line`, `tree` and `document` show it, `pcapng`
writes it, `order` merges what several points saw. `lines` and `documents` show many packets, with the help of what
`flow` remembers. `point` finds devices, and `listen` listens.
"""
