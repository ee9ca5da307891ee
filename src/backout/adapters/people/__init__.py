"""People as enrolled OpenSSH public keys: whose signature it is, checked without OpenSSH on the machine."""
