#!/usr/bin/env python3
"""Do a question and a text share a word that matters?  usage: demo_words.py QUESTION FILE

Prints one sentence that says so; exit status 1 when they do.  Words that carry no matter of their own (the, which, against ...) are left out, and
words are compared by their first five letters, so that `help` and `helps` are one."""
import re
import sys

COMMON = set("""a about above after again against all also am an and any are as at be because been before being below between both but by can could
did do does doing down during each few for from further had has have having he her here hers him his how i if in into is it its itself just let
like may me might more most much must my near need no nor not now of off on once only or other our out over own same she should so some such
take than that the their them then there these they this those through to too two under until up us very was we were what when where which
while who whom why will with would you your""".split())


def words(text):
    return sorted({w for w in re.findall(r"[a-z]+", text.lower()) if w not in COMMON and len(w) > 2})


question, path = sys.argv[1:3]
asked, there = words(question), words(open(path, errors="replace").read())
both = [w for w in asked if any(w[:5] == t[:5] for t in there)]
name = path.rsplit("/", 1)[-1]
if both:
    print(f"{name} shares {', '.join(both)} with the question.")
    sys.exit(1)
print(f"{name} was found by meaning alone: of the question's words that matter ({', '.join(asked)}) not one is among the text's\n"
      f"({', '.join(there)}).")
