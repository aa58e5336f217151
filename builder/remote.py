"""Work on another machine over its login: what is sent, what is said, and the side that runs there.

Written by hand, on the system's OpenSSH: a call on its shared connection takes 0.14 s, a login 0.37 s. The worker is 0.5 MB, is
sent once, and needs only the standard library.
"""
