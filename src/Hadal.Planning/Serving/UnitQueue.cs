using Hadal.Numerics;
using Hadal.Parallel.Serving;

namespace Hadal.Planning.Serving;

/// <summary>What a unit does with requests.</summary>
public enum UnitRole
{
    /// <summary>Reads prompts; the cache is handed to a decoding unit.</summary>
    Prefill,

    /// <summary>Writes answers to prompts that were read elsewhere.</summary>
    Decode,

    /// <summary>Both, in the same steps.</summary>
    Both,
}

/// <summary>
/// One serving unit as an event simulation: requests come at random times, go to the GPU with the least to do, and steps follow each other as long as there is work. In a step every GPU takes a
/// token of each of its answers and, where it reads prompts, a chunk of those that wait, first come first served; all GPUs wait for the fullest one.
/// A step takes time for each GPU that has work, not for each answer: what an answer has got follows from the step in which it began.
/// </summary>
/// <param name="costs">Prices of steps.</param>
/// <param name="gpus">GPUs of the unit.</param>
/// <param name="traffic">Rows and pairs for each token, balance included.</param>
/// <param name="role">What it does.</param>
/// <param name="chunk">Most prompt tokens that a GPU takes in a step.</param>
public sealed class UnitQueue(ServingCosts costs, int gpus, TrafficPerToken traffic, UnitRole role, int chunk)
{
    const int MostSteps = 400_000;

    /// <summary>Most answers that a GPU writes at once: the low-latency exchange is made for so many tokens.</summary>
    public const int MostRunning = 256;

    sealed class Request
    {
        public double Arrived, FirstToken = -1, Finished;

        // Began: an answer has as many tokens as steps have ended since this one.
        public int Prompt, Cached, Read, Answer, Written, Began;
    }

    sealed class Gpu
    {
        // Prompts are read first come, first served; answers end in the order of the step that brings their last token.
        public readonly Queue<Request> Waiting = new(), Reading = new();
        public readonly PriorityQueue<Request, int> Writing = new();
        public double Reserved, Taken, Ahead;

        public int Running => Reading.Count + Writing.Count;
    }

    // What every step looks at for each GPU, side by side: answers and the positions in their caches, the step that ends the next one, what is read in this step.
    sealed class State(int gpus)
    {
        public readonly Gpu[] Gpus = [.. Enumerable.Range(0, gpus).Select(_ => new Gpu())];
        public readonly LeastIndex Least = new(gpus);
        public readonly List<int> Active = new(gpus);
        public readonly bool[] IsActive = new bool[gpus];
        public readonly int[] Answers = new int[gpus], Waiting = new int[gpus], Ends = [.. Enumerable.Repeat(int.MaxValue, gpus)];
        public readonly double[] Context = new double[gpus], Prompt = new double[gpus], Pairs = new double[gpus];
        public readonly List<Request> Finished = [];
        public int Steps, Running, Fullest;
    }

    UnitPath Path => role == UnitRole.Decode ? UnitPath.Straight : UnitPath.ThroughNodes;

    /// <summary>Runs so many requests a second for a while; the first part warms up and is not counted.</summary>
    /// <param name="load">Lengths.</param>
    /// <param name="rate">Requests a second of this unit.</param>
    /// <param name="seconds">How long requests come.</param>
    /// <param name="cancel">Ends it early.</param>
    public ServiceOutcome Run(ServingLoad load, double rate, double seconds, CancellationToken cancel = default)
    {
        List<Request> all = Arrivals(load, rate, seconds, new CounterRandom(load.Seed, RandomPurpose.Simulation, (uint)role));
        var state = new State(gpus);
        double capacity = costs.CachePositions, now = 0, busy = 0, runningSum = 0, fullest = 0, warm = seconds / 3;
        int next = 0, turns = 0, counted = 0;
        while ((next < all.Count || state.Active.Count > 0) && now < seconds && turns < MostSteps)
        {
            if ((++turns & 0xFF) == 0) cancel.ThrowIfCancellationRequested();
            for (; next < all.Count && all[next].Arrived <= now; next++) fullest = Math.Max(fullest, Assign(state, all[next]));
            foreach (int gpu in state.Active)
                if (state.Waiting[gpu] > 0) Admit(state, gpu, capacity, now);
            double step = Step(state);
            if (step == 0)
            {
                // Nothing to do: to the next request. What waits for room that never comes waits for ever.
                if (next >= all.Count) break;
                now = Math.Max(now, all[next].Arrived);
                continue;
            }

            now += step;
            state.Steps++;
            if (now > warm) (busy, counted, runningSum) = (busy + step, counted + 1, runningSum + ((double)state.Running / gpus));
            for (int i = state.Active.Count - 1; i >= 0; i--)
            {
                int gpu = state.Active[i];
                state.Context[gpu] += state.Answers[gpu];
                if (state.Ends[gpu] > state.Steps && state.Prompt[gpu] == 0) continue;
                Advance(state, gpu, now);
                if (state.Gpus[gpu].Running + state.Waiting[gpu] > 0) continue;
                state.IsActive[gpu] = false;
                state.Active.RemoveAt(i);
            }
        }

        foreach (Gpu gpu in state.Gpus)
            foreach ((Request request, int _) in gpu.Writing.UnorderedItems) request.Written = state.Steps - request.Began;
        return Outcome(all, state.Finished, Math.Min(now, seconds), warm, busy, counted == 0 ? 0 : busy / counted, counted == 0 ? 0 : runningSum / counted, fullest / Math.Max(1, capacity));
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
    void Weigh(State state, int gpu) => state.Least[gpu] = role == UnitRole.Prefill ? state.Gpus[gpu].Ahead : state.Gpus[gpu].Reserved;

    double Assign(State state, Request request)
    {
        int index = state.Least.Index;
        Gpu gpu = state.Gpus[index];
        gpu.Ahead += request.Prompt - request.Cached;
        gpu.Reserved += Room(request);
        gpu.Waiting.Enqueue(request);
        state.Waiting[index]++;
        Weigh(state, index);
        if (!state.IsActive[index]) state.Active.Add(index);
        state.IsActive[index] = true;
        return gpu.Reserved;
    }

    double Room(Request request) => role == UnitRole.Prefill ? request.Prompt : request.Prompt + request.Answer;

    void Admit(State state, int index, double capacity, double now)
    {
        // In a decoding unit the prompt is there; elsewhere it is read chunk by chunk, once there is room for all of the request.
        Gpu gpu = state.Gpus[index];
        while (gpu.Waiting.TryPeek(out Request? request) && gpu.Running < MostRunning && gpu.Taken + Room(request) <= capacity)
        {
            gpu.Waiting.Dequeue();
            gpu.Taken += Room(request);
            (state.Waiting[index], state.Running) = (state.Waiting[index] - 1, state.Running + 1);
            if (role != UnitRole.Decode)
            {
                request.Read = request.Cached;
                gpu.Reading.Enqueue(request);
                continue;
            }

            request.Read = request.Prompt;
            request.FirstToken = now;
            Write(state, index, request, 0);
        }
    }

    // An answer that has so many tokens.
    static void Write(State state, int index, Request request, int written)
    {
        request.Began = state.Steps - written;
        state.Answers[index]++;
        state.Context[index] += request.Prompt + written;
        state.Gpus[index].Writing.Enqueue(request, request.Began + request.Answer);
        state.Ends[index] = Math.Min(state.Ends[index], request.Began + request.Answer);
    }

    // The fullest GPU sets the pace; experts get what all GPUs send. A step never takes longer for less work, so a GPU with no more of anything need not be priced.
    double Step(State state)
    {
        double tokens = 0;
        foreach (int gpu in state.Active)
        {
            (state.Prompt[gpu], state.Pairs[gpu]) = state.Gpus[gpu].Reading.Count == 0 ? default : Chunk(state.Gpus[gpu]);
            tokens += state.Prompt[gpu] + state.Answers[gpu];
        }

        if (tokens == 0) return 0;
        double mean = tokens / gpus, all = Coarse(mean, double.Exp2(Math.Floor(Math.Log2(mean)) - 5)), worst = 0;
        StepWork most = default;
        if (state.IsActive[state.Fullest]) Price(state.Fullest); // it will be so again, most of the time
        foreach (int gpu in state.Active)
        {
            if (state.Context[gpu] <= most.AnswerPositions && state.Answers[gpu] <= most.AnswerTokens && state.Prompt[gpu] <= most.PromptTokens && state.Pairs[gpu] <= most.PromptPairs) continue;
            Price(gpu);
        }

        return worst;

        void Price(int gpu)
        {
            // Work is rounded up to what does not matter.
            var work = new StepWork(Coarse(state.Prompt[gpu], 16), Coarse(state.Pairs[gpu], 1 << 16), state.Answers[gpu], Coarse(state.Context[gpu], 2048), all);
            double seconds = work.Tokens == 0 ? 0 : costs.StepSeconds(work, traffic, Path);
            if (seconds > worst) (worst, most, state.Fullest) = (seconds, work, gpu);
        }
    }

    static double Coarse(double value, double unit) => Math.Ceiling(value / unit) * unit;

    // Prompt tokens of the next step, and what they look back at.
    (double Tokens, double Pairs) Chunk(Gpu gpu)
    {
        double pairs = 0;
        int left = chunk;
        foreach (Request request in gpu.Reading)
        {
            int part = Math.Min(left, request.Prompt - request.Read);
            if (part == 0) break;
            left -= part;
            pairs += part * (request.Read + ((part + 1) / 2.0));
        }

        return (chunk - left, pairs);
    }

    void Advance(State state, int index, double now)
    {
        Gpu gpu = state.Gpus[index];
        while (gpu.Writing.TryPeek(out Request? ended, out int last) && last <= state.Steps)
        {
            gpu.Writing.Dequeue();
            state.Answers[index]--;
            state.Context[index] -= ended.Prompt + ended.Answer;
            ended.Written = ended.Answer;
            Finish(state, gpu, ended, now);
        }

        state.Ends[index] = gpu.Writing.TryPeek(out _, out int ends) ? ends : int.MaxValue;
        int left = chunk;
        while (gpu.Reading.TryPeek(out Request? request))
        {
            int part = Math.Min(left, request.Prompt - request.Read);
            left -= part;
            request.Read += part;
            gpu.Ahead -= part;
            if (request.Read < request.Prompt) break;

            // The last chunk brings the first token.
            gpu.Reading.Dequeue();
            request.FirstToken = now;
            request.Written = 1;
            if (role == UnitRole.Prefill || request.Answer == 1) Finish(state, gpu, request, now);
            else Write(state, index, request, 1);
        }

        Weigh(state, index);
    }

    void Finish(State state, Gpu gpu, Request request, double now)
    {
        request.Finished = now;
        gpu.Taken -= Room(request);
        gpu.Reserved -= Room(request);
        state.Running--;
        state.Finished.Add(request);
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
