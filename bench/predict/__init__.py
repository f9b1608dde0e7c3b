"""Prediction against reality: in labs that are damaged at random, packets are predicted, sent, and looked for.

    python -m bench.predict --cases 10000 --seed 1

A case is one packet in one damaged lab: its source, destination, protocol, size, time to live and DF bit are drawn, and
so is the damage. Where it arrives, as what, and which error comes back from whom, is held against what
`nankeen.forwarding` says. Agents are stopped meanwhile: they would repair the damage.
"""
