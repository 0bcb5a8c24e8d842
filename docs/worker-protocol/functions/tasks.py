"""The functions that the transcripts beside this folder speak of."""

import time

import riverrun


@riverrun.task
def greet(name):
    print("greeting", name)
    return {"text": f"hello {name}"}


@riverrun.task
def wait():
    try:
        print("waiting")
        time.sleep(1000)
    finally:
        print("cleaned up")
