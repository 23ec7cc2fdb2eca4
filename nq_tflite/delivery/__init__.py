"""How a nested model comes to a device: in one piece that runs before it is whole, or as a base and upgrades.

Needs nothing but Python's own library and `format`: no flatbuffers, no runtime.
"""

from nq_tflite.delivery.parts import Joined, Part, Parts, join, split
from nq_tflite.delivery.receiving import ArrivedLevel, Delivery, receive

__all__ = ["ArrivedLevel", "Delivery", "Joined", "Part", "Parts", "join", "receive", "split"]
