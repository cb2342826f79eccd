"""Start or stop the two SGLang servers, or find two free ports.

python -m ATTS.servers stop --folder results/servers

``start`` returns when both are healthy and leaves them running; when one fails, or the time limit
passes, or it is interrupted, it stops both and shows the end of the log.
"""

from ATTS.launch.servers import main

if __name__ == "__main__":
    main(__doc__)
