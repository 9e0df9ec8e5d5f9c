"""Data sets for the experiments of docs/defaults.md, made of a grammar: invented facts that no model
knows, in words and wordings that are listed here.

    python bench/defaults/records.py DIR

writes into DIR
  chats.jsonl, chats-test.jsonl    conversations with the office of an invented ferry line: 32 facts,
                                   three wordings each to learn from and a fourth held out
  orders.jsonl, orders-test.jsonl  messages and the order that each contains, "lamp, green, 3, Tuesday":
                                   extraction, in combinations that were not seen
The third set is models/shop.jsonl with models/shop-test.jsonl.  Always the same bytes: seed 7."""
import json
import random
import sys

ISLANDS = ["Skarholm", "Vestery", "Lunda", "Tornsay", "Grimvik", "Osterby", "Halmoy", "Krakness"]
TIMES = ["half past six", "seven", "eight", "a quarter past nine", "ten", "noon", "half past two", "five"]
PIERS = ["one", "two", "three", "four", "five", "six", "seven", "eight"]
PRICES = ["four", "six", "nine", "eleven", "twelve", "fifteen", "twenty", "thirty"]
CAPTAINS = ["Anna Berg", "Tom Hale", "Mary Lind", "Peter Voss", "Ida Strand", "Jon Falk", "Eva Moen", "Karl Nygard"]

FACTS = [
    (TIMES, "The boat to {island} leaves at {value}.",
     ["When does the boat to {island} leave?", "At what time can I go to {island}?", "What is the departure time for {island}?",
      "I want to travel to {island}. When is the boat?"]),
    (PIERS, "Boats to {island} wait at pier {value}.",
     ["Which pier is it for {island}?", "Where do I board the boat to {island}?", "From what pier do you go to {island}?",
      "I am at the harbour. Where is the boat to {island}?"]),
    (PRICES, "A ticket to {island} costs {value} crowns.",
     ["How much is a ticket to {island}?", "What does it cost to go to {island}?", "What is the price of a trip to {island}?",
      "How many crowns do I pay to {island}?"]),
    (CAPTAINS, "The captain of the boat to {island} is {value}.",
     ["Who is the captain of the boat to {island}?", "Who takes us to {island}?", "What is the captain of the {island} boat called?",
      "Tell me the name of the captain to {island}."]),
]
GREETINGS = [None, None, None, ("Hello!", "Hello, this is the ferry office. How can I help?"),
             ("Good morning.", "Hello, this is the ferry office. How can I help?")]

THINGS = ["lamp", "chair", "helmet", "blanket", "kettle", "basket", "clock", "mirror", "ladder", "bucket"]
COLOURS = ["red", "green", "blue", "white", "black", "yellow", "brown", "grey"]
NUMBERS = ["one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
DAYS = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"]
MESSAGES = [
    "Could you send me {number} {colour} {things} by {day}?",
    "Hello, we need {number} {things} in {colour}. {day} would be fine.",
    "Please put aside {number} {colour} {things}, I will come on {day}.",
    "My wife wants {number} {things}, all {colour}, and she wants them on {day}.",
    "On {day} we open a new room and lack {number} {colour} {things}.",
    "I looked at your {things} yesterday. I take {number} of the {colour} ones, delivery on {day}.",
]


def chats(random_):
    train, test = [], []
    for values, answer, wordings in FACTS:
        order = list(values)
        random_.shuffle(order)
        for island, value in zip(ISLANDS, order):
            for i, wording in enumerate(wordings):
                greeting = random_.choice(GREETINGS) if i < 3 else None
                turns = [("user", greeting[0]), ("assistant", greeting[1])] if greeting else []
                turns += [("user", wording.format(island=island)), ("assistant", answer.format(island=island, value=value))]
                record = {"messages": [{"role": r, "content": c} for r, c in turns]}
                (train if i < 3 else test).append(record)
    random_.shuffle(train)
    return train, test


def orders(random_, count, seen):
    out = []
    while len(out) < count:
        i = random_.randrange(len(NUMBERS))
        thing, colour, day = random_.choice(THINGS), random_.choice(COLOURS), random_.choice(DAYS)
        if (thing, colour, i, day) in seen:
            continue
        seen.add((thing, colour, i, day))
        message = random_.choice(MESSAGES).format(number=NUMBERS[i], colour=colour, day=day, things=thing + ("s" if i else ""))
        out.append({"message": message, "order": f"{thing}, {colour}, {i + 1}, {day}"})
    return out


def write(path, records):
    with open(path, "w", encoding="utf-8") as f:
        f.writelines(json.dumps(r) + "\n" for r in records)


def make(where):
    random_ = random.Random(7)
    train, test = chats(random_)
    seen = set()
    write(f"{where}/chats.jsonl", train)
    write(f"{where}/chats-test.jsonl", test)
    write(f"{where}/orders.jsonl", orders(random_, 120, seen))
    write(f"{where}/orders-test.jsonl", orders(random_, 40, seen))


if __name__ == "__main__":
    make(sys.argv[1])
