"""Precision that follows the device: policies, sensors, and the governor that switches by them."""

from nq_tflite.govern.arbiter import Arbiter, Decision, ModelLevels
from nq_tflite.govern.governor import GovernedSwitch, Governor, Switchable
from nq_tflite.govern.policy import PRESETS, Policy, Rule
from nq_tflite.govern.sensors import SENSORS, Sensors

__all__ = [
    "PRESETS",
    "SENSORS",
    "Arbiter",
    "Decision",
    "GovernedSwitch",
    "Governor",
    "ModelLevels",
    "Policy",
    "Rule",
    "Sensors",
    "Switchable",
]
