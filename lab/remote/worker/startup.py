"""What the RE Manager loads into its worker: the names of a console, and the plans that can be queued.

IPython runs this file as ``__main__`` and throws its globals away afterwards, so nothing is defined here.
"""

from lab.remote.worker.opening import open_worker

globals().update(open_worker())
del open_worker
