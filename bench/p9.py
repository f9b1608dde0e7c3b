"""P9: how much memory an agent keeps resident, with 3 peers and with 5,000."""

ROWS = ()
