"""Checkable instructions: an everyday request and a rule for the form of its answer, typed and spoken.

After IFEval (Zhou et al. 2023, arXiv 2311.07911), whose names the checks have where it has them. Deviations: 1. the
prompts are made here, short and without anything that cannot be said aloud, so there are no checks on signs or on
several paragraphs; 2. one check a prompt; 3. `order` is new: words given in another order; 4. an answer that is empty,
refuses or says that nothing was heard follows no instruction; 5. only kinds of check that a small model follows
sometimes and that an answer to the bare request rarely passes. They are test items alone, never trained on.
"""

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache

from posttrain.corpus.instructions import FOLLOW
from posttrain.corpus.normalise import normalise
from posttrain.tasks.compare import words
from posttrain.tasks.family import Ask, Family, HeldOut, Item, spread
from posttrain.tasks.hearing import is_abstention
from posttrain.tasks.safety import is_refusal

TEST_ITEMS = 150
REQUESTS = {
    "explain what a hearing aid does": "hearing",
    "tell me how to clean a hearing aid": "clean",
    "say why loud music harms the ears": "ears",
    "explain what an ear doctor does": "ear",
    "tell me how to talk with someone who hears badly": "hear",
    "say what to do when a battery is empty": "battery",
    "tell me how to make tea": "tea",
    "tell me how to boil an egg": "egg",
    "explain how to cook rice": "rice",
    "say what belongs in a vegetable soup": "soup",
    "tell me how to bake bread": "bread",
    "say how to keep a kitchen clean": "kitchen",
    "describe a good breakfast": "breakfast",
    "say what a fridge is for": "food",
    "tell me what to pack for a week at the sea": "pack",
    "explain how to buy a train ticket": "ticket",
    "say how to find a hotel in a new city": "hotel",
    "describe a long train journey": "train",
    "tell me what to see in paris": "paris",
    "say how to stay calm on a plane": "calm",
    "explain what rain is": "water",
    "describe a day with snow": "snow",
    "say why the sky is blue": "light",
    "tell me what a garden needs in spring": "garden",
    "explain how to look after a plant": "plant",
    "describe a cat": "cat",
    "say what dogs like to eat": "dogs",
    "explain what bees do": "bees",
    "describe the moon": "moon",
    "explain what a river is": "water",
    "say why sleep is good for us": "sleep",
    "tell me how to fall asleep faster": "sleep",
    "say what to do when you have a cold": "cold",
    "explain why walking is healthy": "walking",
    "tell me how to write a letter to a friend": "letter",
    "say how to thank a nurse": "nurse",
    "describe a good neighbour": "neighbor",
    "tell me how to learn a new language": "language",
    "explain what a library is": "books",
    "say how to save money": "money",
    "describe a birthday party": "party",
    "tell me how to play chess": "chess",
    "explain what a piano is": "piano",
    "describe a busy market": "market",
    "say how to cross a road": "road",
    "tell me how to ride a bicycle": "bike",
    "explain what a telephone is for": "phone",
    "say how a clock works": "clock",
    "describe an old house": "house",
    "tell me how to paint a wall": "paint",
}
"""Request → a word that its answers hardly do without."""
