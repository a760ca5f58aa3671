"""The simulator against queues with known answers.

Every mean is taken over independent seeds; its 99.9 % confidence interval (Student's t) has to hold the closed form and
to be narrow enough that an error of 5 % would lie outside. `scenes.run` holds Little's law against the plant's own
counts in every run; the law of utilisation is held here wherever a queue is stable.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import pytest
from scipy import optimize, stats
from tests.sim.scenes import Floats, Run, Scene, Station, chain_of, poisson, run, scene

from trimtab.plan.policies import make_policy
from trimtab.queueing.batch import formation_wait_mean
from trimtab.queueing.erlang import erlang_b, erlang_c, mmc_mean_wait
from trimtab.queueing.ggc import allen_cunneen_wait
from trimtab.sim import Serving, simulate
from trimtab.sim import layout as at
from trimtab.sim.model import PLANTS, Draw
from trimtab.sim.run import Load
from trimtab.spec.model import Edge
from trimtab.testing import make_chain
from trimtab.workload.arrivals import Arrivals, send_times
from trimtab.workload.trace import Trace

pytestmark = pytest.mark.usefixtures("machine_code")

SEEDS = 20
WARM_UP = 2_000
"""Requests at the start that do not count: the network starts empty."""
FIFO = {draw: Serving(rule="fifo", draw=draw) for draw in ("exponential", "mean", "profile")}


def confirm(samples: Sequence[float], theory: float, *, within: float = 0.025) -> None:
    """The 99.9 % interval of the mean holds `theory`, and half its width is at most `within` of it.

    Half a width of 2.5 % is what tells 5 % from nothing: the interval of a mean that is 5 % off ends short of it.
    """
    half = float(stats.t.ppf(0.9995, len(samples) - 1)) * float(np.std(samples, ddof=1)) / math.sqrt(len(samples))
    mean = float(np.mean(samples))
    assert half <= within * abs(theory), f"the interval {mean:.5g} ± {half:.2g} is too wide to tell anything"
    assert abs(mean - theory) <= half, f"{mean:.5g} ± {half:.2g}, theory says {theory:.5g}"


def runs(
    built: Scene,
    serving: Serving,
    rate: float,
    requests: int,
    *,
    arrivals: Callable[[float, int, int], Floats] = poisson,
    seeds: int = SEEDS,
) -> list[Run]:
    """One run a seed."""
    return [run(built, arrivals(rate, round(requests / rate), s), serving, seed=s) for s in range(seeds)]


def settled(one: Run) -> Floats:
    """Response times of those answered, but for the first."""
    return one.response_s[WARM_UP:][one.answered[WARM_UP:]]


def check_utilisation(done: Sequence[Run], built: Scene, rate: float) -> None:
    """Busy core-seconds per second are λ·Σ E[S]/batch: checked where every batch is of one."""
    offered = rate * sum(s.service_time(1, 1, 1).seconds for v in built.profile.variants.values() for s in v.values())
    confirm([one.busy_core_s / one.arrived_s[-1] for one in done], offered, within=0.01)
    for one in done:
        assert one.core_seconds == pytest.approx(built.plan.cores * one.end_s)


def test_the_check_itself_tells_five_percent_from_nothing() -> None:
    samples = np.random.Generator(np.random.PCG64(1)).normal(1.0, 0.03, 20).tolist()
    confirm(samples, 1.0)
    for wrong in (0.95, 1.05):
        with pytest.raises(AssertionError, match="theory says"):
            confirm(samples, wrong)
    with pytest.raises(AssertionError, match="too wide"):
        confirm([0.8, 1.2], 1.0)


# --- one queue ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("servers", "load"), [(1, 0.6), (2, 0.6), (5, 0.7)])
def test_m_m_c(servers: int, load: float) -> None:
    rate = load * servers
    built = scene([Station("a", 1.0, servers)])
    done = runs(built, FIFO["exponential"], rate, 90_000 if servers < 5 else 180_000)
    confirm([float(settled(one).mean()) - 1.0 for one in done], mmc_mean_wait(rate, 1.0, servers), within=0.03)
    confirm([float((one.found()[WARM_UP:] >= servers).mean()) for one in done], erlang_c(servers, rate))
    check_utilisation(done, built, rate)


def test_response_times_of_m_m_1_are_exponential() -> None:
    # Kleinrock, Queueing Systems I, 1975, §5.6: the time in the system is exponential with rate μ - λ.
    done = runs(scene([Station("a", 0.01)]), FIFO["exponential"], 50.0, 120_000)
    for above in (0.5, 0.2, 0.1):
        confirm([float((settled(one) > -math.log(above) / 50.0).mean()) for one in done], above)


def test_m_d_1() -> None:
    built = scene([Station("a", 0.02)])
    done = runs(built, FIFO["mean"], 35.0, 80_000)
    confirm([float(settled(one).mean()) - 0.02 for one in done], 0.7 * 0.02 / (2.0 * 0.3))
    confirm([float((settled(one) > 0.02 + 1e-9).mean()) for one in done], 0.7)
    check_utilisation(done, built, 35.0)


QUANTILES = {0.5: 0.9, 0.9: 1.3, 0.95: 1.6, 0.99: 2.4}
"""Of a service time of mean 1."""
PIECES = [(0.5, 0.618, 0.9), (0.4, 0.9, 1.3), (0.05, 1.3, 1.6), (0.04, 1.6, 2.4), (0.01, 2.4, 3.2)]
"""Width, start and end of each linear piece of the quantile function, by hand: it ends as far above the 99 % quantile
as that is above the 95 % one; its start gives the mean of 1: 0.5·(x + 0.9)/2 = 1 - 0.6205."""


def test_m_g_1_with_the_profiles_own_quantiles() -> None:
    # Pollaczek–Khinchine: E[W] = λ·E[S²] / 2(1 - ρ); a uniform piece from a to b has E[S²] = (a² + ab + b²)/3.
    assert sum(width * (a + b) / 2 for width, a, b in PIECES) == pytest.approx(1.0)
    second = sum(width * (a * a + a * b + b * b) / 3 for width, a, b in PIECES)
    built = scene([Station("a", 1.0, quantiles=QUANTILES)])
    done = runs(built, FIFO["profile"], 0.7, 80_000)
    wait = 0.7 * second / (2.0 * 0.3)
    assert allen_cunneen_wait(0.7, 1.0, 1, 1.0, second - 1.0) == pytest.approx(wait)
    confirm([float(settled(one).mean()) - 1.0 for one in done], wait)
    check_utilisation(done, built, 0.7)


def test_service_times_have_the_profiles_mean_and_quantiles() -> None:
    # So many servers that nobody waits: response times are service times.
    done = runs(
        scene([Station("a", {1: 1.0, 2: 1.5}, 60, quantiles=QUANTILES)]), FIFO["profile"], 20.0, 50_000, seeds=10
    )
    confirm([float(settled(one).mean()) for one in done], 1.0, within=0.01)
    for q, value in QUANTILES.items():
        confirm([float((settled(one) <= value).mean()) for one in done], q, within=0.01)
        assert np.mean([np.quantile(settled(one), q) for one in done]) == pytest.approx(value, rel=0.01)
    every = np.concatenate([settled(one) for one in done])
    assert (every.min(), every.max()) == (pytest.approx(0.618, rel=0.01), pytest.approx(3.2, rel=0.01))


@pytest.mark.parametrize(("arrivals", "rate"), [("even", 0.8), ("gamma", 0.4)])
def test_renewal_arrivals_and_exponential_service(arrivals: Arrivals, rate: float) -> None:
    # GI/M/1 (Kleinrock 1975, §6.4): E[W] = σ/(μ(1 - σ)), σ being the root in (0, 1) of σ = A*(μ(1 - σ)).
    def transform(s: float) -> float:
        return math.exp(-s / rate) if arrivals == "even" else (1.0 + 4.0 * s / rate) ** -0.25

    sigma = optimize.brentq(lambda x: transform(1.0 - x) - x, 1e-6, 1.0 - 1e-6)
    done = runs(
        scene([Station("a", 1.0)]),
        FIFO["exponential"],
        rate,
        100_000,
        arrivals=lambda r, seconds, seed: send_times(np.full(seconds, r), arrivals, seed),
    )
    confirm([float(settled(one).mean()) - 1.0 for one in done], sigma / (1.0 - sigma))


# --- limits ---------------------------------------------------------------------------------------------------------


def test_m_m_c_k() -> None:
    # Gross et al., Fundamentals of Queueing Theory, 4th ed. 2008, §2.5: birth and death, cut off at K = 6.
    servers, limit, rate = 2, 6, 2.0
    weights = [1.0]
    for n in range(1, limit + 1):
        weights.append(weights[-1] * rate / min(n, servers))
    shares = np.array(weights) / sum(weights)
    serving = Serving(rule="fifo", draw="exponential", queue_limit=limit)
    done = runs(scene([Station("a", 1.0, servers)]), serving, rate, 80_000)
    confirm([float((one.outcome[WARM_UP:] == at.REFUSED).mean()) for one in done], float(shares[-1]))
    inside = float(shares @ np.arange(limit + 1))
    confirm([float(settled(one).mean()) for one in done], inside / (rate * (1.0 - float(shares[-1]))))


@pytest.mark.parametrize("draw", ["exponential", "mean", "profile"])
def test_loss_depends_on_the_mean_of_service_alone(draw: Draw) -> None:
    # Erlang's loss formula holds for M/G/c/c (Sevastyanov 1957).
    serving = Serving(rule="fifo", draw=draw, queue_limit=4)
    built = scene([Station("a", 1.0, 4, quantiles=QUANTILES)])
    done = runs(built, serving, 3.0, 80_000)
    confirm([float((one.outcome[WARM_UP:] == at.REFUSED).mean()) for one in done], erlang_b(4, 3.0))
    busy = 3.0 * (1.0 - erlang_b(4, 3.0))
    confirm([one.busy_core_s / one.arrived_s[-1] for one in done], busy, within=0.01)


# --- batches --------------------------------------------------------------------------------------------------------


def bulk_inside(rate: float, means: Sequence[float], room: int = 300) -> float:
    """Mean number of requests in M/M^[1,b]/1 whose service rate depends on the batch: the balance equations, solved.

    States: idle, or q waiting behind a batch of s. A server that becomes free takes up to b; nobody joins a batch under
    way. The queue is cut off at `room`.
    """
    most = len(means)
    size = 1 + room * most
    generator = np.zeros((size, size))

    def state(waiting: int, served: int) -> int:
        return 1 + waiting * most + served - 1

    generator[0, state(0, 1)] += rate
    for waiting in range(room):
        for served in range(1, most + 1):
            here = state(waiting, served)
            if waiting + 1 < room:
                generator[here, state(waiting + 1, served)] += rate
            taken = min(waiting, most)
            generator[here, state(waiting - taken, taken) if taken else 0] += 1.0 / means[served - 1]
    generator -= np.diag(generator.sum(axis=1))
    generator[:, 0] = 1.0  # in the place of one balance equation: probabilities sum to 1
    shares = np.linalg.solve(generator.T, np.eye(size)[0])
    numbers = [0] + [waiting + served for waiting in range(room) for served in range(1, most + 1)]
    return float(shares @ numbers)


def test_bulk_service_with_exponential_times() -> None:
    assert bulk_inside(0.7, [1.0]) == pytest.approx(0.7 / 0.3, rel=1e-6)
    means, rate = [1.0, 1.3, 1.6, 1.9], 1.3
    built = scene([Station("a", dict(enumerate(means, start=1)), batch=4)])
    done = runs(built, FIFO["exponential"], rate, 80_000)
    confirm([float(settled(one).mean()) for one in done], bulk_inside(rate, means) / rate)


def bulk_wait(rate: float, service_s: float, most: int, room: int = 200) -> tuple[float, float]:
    """Mean wait and mean batch in M/D^[1,b]/1: the chain of queue lengths left behind, and Little's law.

    After N. T. J. Bailey (Journal of the Royal Statistical Society B 16, 1954), with a server that takes what is there
    and, finding nothing, waits for one: X' = max(X - b, 0) + A, A ~ Poisson(λD). A cycle is D long, and 1/λ longer
    after X = 0; while a batch is served, the queue's area is max(X - b, 0)·D + λD²/2.
    """
    arrive = stats.poisson.pmf(np.arange(room), rate * service_s)
    moves = np.zeros((room, room))
    for left in range(room):
        kept = max(left - most, 0)
        moves[left, kept:] = arrive[: room - kept]
        moves[left, -1] += 1.0 - moves[left].sum()
    equations = (moves - np.eye(room)).T
    equations[0] = 1.0
    shares = np.linalg.solve(equations, np.eye(room)[0])
    waiting = float(shares @ np.maximum(np.arange(room) - most, 0))
    cycle_s = service_s + float(shares[0]) / rate
    return (waiting * service_s + rate * service_s**2 / 2.0) / cycle_s / rate, rate * cycle_s


def test_bulk_service_with_constant_times() -> None:
    assert bulk_wait(0.8, 1.0, 1)[0] == pytest.approx(2.0, rel=1e-6)
    rate, most = 2.8, 4
    wait_s, size = bulk_wait(rate, 1.0, most)
    built = scene([Station("a", dict.fromkeys(range(1, most + 1), 1.0), batch=most)])
    done = runs(built, FIFO["mean"], rate, 60_000)
    confirm([float(settled(one).mean()) - 1.0 for one in done], wait_s)
    confirm([len(one.arrived_s) / one.batches for one in done], size, within=0.01)


def test_full_batches_wait_for_their_last_request() -> None:
    # With servers enough, a batch of b waits only to fill: (b - 1)/2λ on average over its requests.
    serving = Serving(rule="fifo", draw="mean", max_wait_s=1e6)
    built = scene([Station("a", dict.fromkeys(range(1, 6), 1.0), 12, batch=5)])
    done = [run(built, poisson(8.0, 5_000, seed)[:20_000], serving, seed=seed) for seed in range(SEEDS)]
    confirm([float(one.response_s.mean()) - 1.0 for one in done], formation_wait_mean(8.0, 5))
    assert all(one.batches == 4_000 for one in done)


# --- networks -------------------------------------------------------------------------------------------------------


def test_a_tandem_has_product_form() -> None:
    # P. J. Burke, Operations Research 4, 1956: what leaves M/M/c is Poisson again, so each station is by itself.
    rate = 2.6
    stations = chain_of(Station("a", 0.5, 2), Station("b", 1.0, 4))
    built = scene(stations)
    done = runs(built, FIFO["exponential"], rate, 60_000)
    theory = mmc_mean_wait(rate, 0.5, 2) + 0.5 + mmc_mean_wait(rate, 1.0, 4) + 1.0
    confirm([float(settled(one).mean()) for one in done], theory)
    check_utilisation(done, built, rate)


def test_times_in_a_tandem_of_single_servers_are_independent() -> None:
    # E. Reich, Annals of Mathematical Statistics 28, 1957: the sum of two independent exponential times of rates μ - λ.
    first, second, rate = 1.0 / 0.8 - 0.6, 1.0 / 1.1 - 0.6, 0.6
    done = runs(scene(chain_of(Station("a", 0.8), Station("b", 1.1))), FIFO["exponential"], rate, 70_000)
    for time_s in (3.0, 8.0):
        above = (second * math.exp(-first * time_s) - first * math.exp(-second * time_s)) / (second - first)
        confirm([float((settled(one) > time_s).mean()) for one in done], above, within=0.05)


def test_a_fork_and_join_of_two_single_servers() -> None:
    # L. Flatto and S. Hahn, SIAM Journal on Applied Mathematics 44, 1984; R. Nelson and A. N. Tantawi, IEEE
    # Transactions on Computers 37, 1988, eq. 7: E[R] = (12 - ρ)/8 · 1/(μ - λ).
    rate = 0.6
    built = scene([Station("a", 1.0), Station("b", 1.0)])
    done = runs(built, FIFO["exponential"], rate, 70_000)
    confirm([float(settled(one).mean()) for one in done], (12.0 - rate) / 8.0 / (1.0 - rate))
    check_utilisation(done, built, rate)


def test_a_fork_that_joins_in_a_third_task() -> None:
    # The same two queues; the join adds a service of its own, on servers enough.
    rate = 0.5
    stations = [
        Station("root", 0.25, 8),
        Station("a", 1.0, after=(Edge("root"),)),
        Station("b", 1.0, after=(Edge("root"),)),
        Station("join", 0.5, 12, after=(Edge("a"), Edge("b"))),
    ]
    done = runs(scene(stations), FIFO["exponential"], rate, 50_000)
    theory = 0.25 + (12.0 - rate) / 8.0 / (1.0 - rate) + 0.5
    confirm([float(settled(one).mean()) for one in done], theory)


def test_a_fan_out_arrives_at_once() -> None:
    # Two items at once are one customer of M/G/1 whose service is the sum of two exponential times: E[S²] = 6·0.5².
    rate = 0.6
    stations = [Station("root", 1.0, 15), Station("a", 0.5, after=(Edge("root", 2.0),))]
    built = scene(stations)
    done = runs(built, FIFO["exponential"], rate, 60_000)
    theory = 1.0 + rate * 6.0 * 0.25 / (2.0 * (1.0 - rate)) + 1.0
    confirm([float(settled(one).mean()) for one in done], theory)


def test_a_fan_out_by_chance_thins_a_poisson_stream() -> None:
    # Each answer is one item with probability 0.4, else none: the second queue is M/M/1 at 0.4·λ (Burke, and thinning).
    rate, share, third = 1.4, 0.4, 1.1
    stations = [Station("root", 0.4), Station("a", third, after=(Edge("root", share),))]
    done = runs(scene(stations), FIFO["exponential"], rate, 70_000)
    theory = 1.0 / (1.0 / 0.4 - rate) + share / (1.0 / third - share * rate)
    confirm([float(settled(one).mean()) for one in done], theory)


# --- no chance at all -----------------------------------------------------------------------------------------------


def test_d_d_1_by_hand() -> None:
    # Every second for five seconds, service of 1.5 s: each waits half a second more than the one before.
    moments = np.arange(5.0) + 0.5
    done = run(scene([Station("a", 1.5)]), moments, FIFO["mean"])
    assert done.response_s == pytest.approx([1.5, 2.0, 2.5, 3.0, 3.5])
    assert done.busy_core_s == pytest.approx(7.5)


def test_d_d_2_in_batches_by_hand() -> None:
    # Two servers, batches of two; service 1.0 s alone, 1.6 s as a pair; arrivals at 0, 0.1, …, 0.5.
    # 0.0 → server one until 1.0; 0.1 → server two until 1.1; at 1.0 the pair (0.2, 0.3) until 2.6; at 1.1 (0.4, 0.5)
    # until 2.7.
    done = run(scene([Station("a", {1: 1.0, 2: 1.6}, 2, batch=2)]), np.arange(6) / 10.0, FIFO["mean"])
    assert done.response_s == pytest.approx([1.0, 1.0, 2.4, 2.3, 2.3, 2.2])
    assert done.batches == 4


def test_a_hop_is_added_to_every_batch() -> None:
    stations = chain_of(Station("a", 0.25), Station("b", 0.5))
    done = run(scene(stations), np.array([0.0, 10.0]), Serving(rule="fifo", draw="mean", hop_s=0.125))
    assert done.response_s == pytest.approx([1.0, 1.0])


# --- through the front door -----------------------------------------------------------------------------------------


def test_simulate_gives_the_figures_of_m_m_1() -> None:
    # 50 requests/s on one core of 10 ms: exponential response times of rate 50; an SLO of ln(20)/50 holds 95 %.
    slo_s = math.log(20.0) / 50.0
    pipeline, profile = make_chain({"a": {"only": (0.9, 0.010)}}, slo_s=slo_s, batches=(1,), cores=1)
    results = [
        simulate(
            pipeline,
            profile,
            Load(Trace((50,) * 1_600), seed=seed),
            make_policy("cheapest"),
            PLANTS["free"],
            serving=FIFO["exponential"],
        ).summary
        for seed in range(SEEDS)
    ]
    confirm([one.mean_s for one in results if one.mean_s], 1.0 / 50.0)
    confirm([one.attainment for one in results if one.attainment], 0.95, within=0.01)
    confirm([one.p50_s for one in results if one.p50_s], math.log(2.0) / 50.0)
    confirm([one.p95_s for one in results if one.p95_s], slo_s)
    confirm([one.p99_s for one in results if one.p99_s], math.log(100.0) / 50.0, within=0.04)
    assert all(one.accuracy == pytest.approx(0.9) and one.mean_cores == pytest.approx(1.0) for one in results)
