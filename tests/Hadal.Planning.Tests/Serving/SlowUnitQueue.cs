using Hadal.Numerics;
using Hadal.Parallel.Serving;
using Hadal.Planning.Serving;

namespace Hadal.Planning.Tests.Serving;

/// <summary>What <see cref="UnitQueue"/> does, answer by answer and GPU by GPU in every step, every GPU priced: slow, and plain enough to be read.</summary>
sealed class SlowUnitQueue(ServingCosts costs, int gpus, TrafficPerToken traffic, UnitRole role, int chunk)
{
    const int MostSteps = 400_000;
    readonly StepWork[] _work = new StepWork[gpus];

    sealed class Request
    {
        public double Arrived, FirstToken = -1, Finished;
        public int Prompt, Cached, Read, Answer, Written;
    }

    sealed class Gpu
    {
        public readonly Queue<Request> Waiting = new();
        public readonly List<Request> Running = [];
        public double Reserved, Positions, Ahead;
    }

    UnitPath Path => role == UnitRole.Decode ? UnitPath.Straight : UnitPath.ThroughNodes;

    public ServiceOutcome Run(ServingLoad load, double rate, double seconds)
    {
        var random = new CounterRandom(load.Seed, RandomPurpose.Simulation, (uint)role);
        var all = Arrivals(load, rate, seconds, random);
        var units = new Gpu[gpus];
        for (int gpu = 0; gpu < gpus; gpu++) units[gpu] = new Gpu();
        var finished = new List<Request>();
        double capacity = costs.CachePositions, now = 0, busy = 0, stepSum = 0, runningSum = 0, fullest = 0, warm = seconds / 3;
        int next = 0, steps = 0, counted = 0;
        while ((next < all.Count || units.Any(u => u.Running.Count + u.Waiting.Count > 0)) && now < seconds && steps < MostSteps)
        {
            steps++;
            for (; next < all.Count && all[next].Arrived <= now; next++) Assign(units, all[next]);
            foreach (Gpu gpu in units) Admit(gpu, capacity, now);
            double step = Step(units);
            if (step == 0)
            {
                // Nothing to do: to the next request. What waits for room that never comes waits for ever.
                if (next >= all.Count) break;
                now = Math.Max(now, all[next].Arrived);
                continue;
            }

            now += step;
            if (now > warm)
            {
                (busy, stepSum, counted) = (busy + step, stepSum + step, counted + 1);
                runningSum += units.Sum(u => u.Running.Count) / (double)gpus;
                fullest = Math.Max(fullest, units.Max(u => u.Reserved) / Math.Max(1, capacity));
            }

            foreach (Gpu gpu in units) Advance(gpu, now, finished);
        }

        return Outcome(all, finished, Math.Min(now, seconds), warm, busy, counted == 0 ? 0 : stepSum / counted, counted == 0 ? 0 : runningSum / counted, fullest);
    }

    static List<Request> Arrivals(ServingLoad load, double rate, double seconds, CounterRandom random)
    {
        var all = new List<Request>();
        double at = 0;
        for (ulong i = 0; ; i++)
        {
            at -= Math.Log(1 - random.Uniform(i)) / rate;
            if (at >= seconds) return all;
            int prompt = load.Prompt.Draw(random, 2 * i), answer = load.Answer.Draw(random, (2 * i) + 1);
            all.Add(new Request { Arrived = at, Prompt = prompt, Cached = (int)(prompt * load.CachedPart), Answer = answer });
        }
    }

    // Prefilling: the fewest prompt tokens ahead. Decoding: the least of the cache reserved [inference overview: balance of prompt tokens, and of cache and requests].
    void Assign(Gpu[] units, Request request)
    {
        Gpu best = units[0];
        foreach (Gpu gpu in units)
            if (Weight(gpu) < Weight(best)) best = gpu;
        best.Ahead += request.Prompt - request.Cached;
        best.Reserved += Room(request);
        best.Waiting.Enqueue(request);
        double Weight(Gpu gpu) => role == UnitRole.Prefill ? gpu.Ahead : gpu.Reserved;
    }

    double Room(Request request) => role == UnitRole.Prefill ? request.Prompt : request.Prompt + request.Answer;

    void Admit(Gpu gpu, double capacity, double now)
    {
        // In a decoding unit the prompt is there; elsewhere it is read chunk by chunk, once there is room for all of the request.
        while (gpu.Waiting.TryPeek(out Request? request) && gpu.Running.Count < UnitQueue.MostRunning && gpu.Positions + Room(request) <= capacity)
        {
            gpu.Waiting.Dequeue();
            gpu.Positions += Room(request);
            gpu.Running.Add(request);
            if (role != UnitRole.Decode)
            {
                request.Read = request.Cached;
                continue;
            }

            request.Read = request.Prompt;
            request.FirstToken = now;
        }
    }

    // The fullest GPU sets the pace; experts get what all GPUs send.
    double Step(Gpu[] units)
    {
        double worst = 0, tokens = 0;
        for (int gpu = 0; gpu < units.Length; gpu++)
        {
            _work[gpu] = Work(units[gpu]);
            tokens += _work[gpu].Tokens;
        }

        double mean = tokens / units.Length;
        foreach (StepWork work in _work)
            if (work.Tokens > 0) worst = Math.Max(worst, Pace(work, mean));
        return worst;
    }

    double Pace(StepWork work, double mean) =>
        costs.StepSeconds(new StepWork(Coarse(work.PromptTokens, 16), Coarse(work.PromptPairs, 1 << 16), work.AnswerTokens, Coarse(work.AnswerPositions, 2048), Coarse(mean, double.Exp2(Math.Floor(Math.Log2(mean)) - 5))), traffic, Path);

    static double Coarse(double value, double unit) => Math.Ceiling(value / unit) * unit;

    StepWork Work(Gpu gpu)
    {
        double prompt = 0, pairs = 0, answers = 0, positions = 0;
        int left = chunk;
        foreach (Request request in gpu.Running)
        {
            if (request.Read < request.Prompt)
            {
                int part = Math.Min(left, request.Prompt - request.Read);
                if (part == 0) continue;
                left -= part;
                prompt += part;
                pairs += part * (request.Read + ((part + 1) / 2.0));
            }
            else
            {
                answers++;
                positions += request.Prompt + request.Written;
            }
        }

        return new(prompt, pairs, answers, positions);
    }

    void Advance(Gpu gpu, double now, List<Request> finished)
    {
        int left = chunk;
        for (int i = 0; i < gpu.Running.Count; i++)
        {
            Request request = gpu.Running[i];
            if (request.Read < request.Prompt)
            {
                int part = Math.Min(left, request.Prompt - request.Read);
                left -= part;
                request.Read += part;
                gpu.Ahead -= part;
                if (request.Read < request.Prompt) continue;

                // The last chunk brings the first token.
                request.FirstToken = now;
                request.Written = 1;
            }
            else
            {
                request.Written++;
            }

            if (role != UnitRole.Prefill && request.Written < request.Answer) continue;
            request.Finished = now;
            gpu.Positions -= Room(request);
            gpu.Reserved -= Room(request);
            finished.Add(request);
            gpu.Running.RemoveAt(i--);
        }
    }

    ServiceOutcome Outcome(List<Request> all, List<Request> finished, double end, double warm, double busy, double step, double running, double fullest)
    {
        // A request that never got its first token, though it had the time that most have, counts with what it has waited.
        double[] first = [.. all.Where(r => r.Arrived >= warm && (r.FirstToken >= 0 || end - r.Arrived > 5)).Select(r => (r.FirstToken >= 0 ? r.FirstToken : end) - r.Arrived).Order()];
        double[] next = [.. finished.Where(r => r.Finished > warm && r.Written > 1).Select(r => (r.Finished - r.FirstToken) / (r.Written - (role == UnitRole.Decode ? 0 : 1))).Order()];
        double window = Math.Max(1e-9, end - warm);
        double prompts = finished.Where(r => r.Finished > warm).Sum(r => (double)r.Prompt), answers = 0;
        foreach (Request request in all)
        {
            // Tokens fall evenly between the first and the last; those inside the window count.
            if (request.FirstToken < 0 || request.Written == 0) continue;
            double last = request.Finished > 0 ? request.Finished : end, span = Math.Max(1e-9, last - request.FirstToken);
            answers += request.Written * Math.Clamp((last - Math.Max(warm, request.FirstToken)) / span, 0, 1);
        }

        return new(Ninth(first), role == UnitRole.Prefill ? 0 : Ninth(next), prompts / window, role == UnitRole.Prefill ? 0 : answers / window, step, Math.Min(1, busy / window), running, fullest);
    }

    // The value that nine of ten stay under; of nobody nothing is known.
    static double Ninth(double[] sorted) => sorted.Length == 0 ? double.PositiveInfinity : sorted[(int)Math.Min(sorted.Length - 1, Math.Ceiling(0.9 * sorted.Length) - 1)];
}
