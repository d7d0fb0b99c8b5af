"""Rates of the peers, in the fields that measure.h prints of ours."""
import resource
import statistics
import time


class Runs:
    def __init__(self, threads):
        self.threads, self.wall, self.cpu = threads, [], []

    def time(self, work):
        """Calls it, counts it, and returns its result."""
        wall, cpu = time.perf_counter(), time.process_time()
        result = work()
        self.wall.append(time.perf_counter() - wall)
        self.cpu.append(time.process_time() - cpu)
        return result

    def rates(self, unit, amount):
        """Of `amount` units a run; by the processors' time as if all threads had run all the time."""
        return {unit + "_per_second_best": round(amount / min(self.wall), 2),
                unit + "_per_second_median": round(amount / statistics.median(self.wall), 2),
                unit + "_per_second_cpu": round(amount * self.threads / min(self.cpu), 2)}


def peak_rss_bytes():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
