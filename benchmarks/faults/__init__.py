"""The attack on thawline: thousands of damages, kills, full disks and hostile inputs, and what came of each.

    python -m benchmarks.faults --family damage --trials 300 --seed 0 --out damage.json
    python -m benchmarks.faults --only damage-0-17

Every trial runs one command of thawline in a forked child that may use 4 GiB and a minute, and that may write nowhere
but in the trial's own temporary folder. POSIX only.
"""
