using System.Collections.Immutable;

namespace Hadal.Parallel.Schedules;

/// <summary>
/// Proves that a schedule is one: every micro-batch runs forward and backward exactly once through every stage, in order, on data that is there; sends
/// meet receives; nothing waits for ever, even when a batch of sends and receives ends only when all its peers take part. It reads the lists alone and
/// knows nothing of how they were made. What it finds is said by rank and step; the list is empty for a schedule that is right.
/// </summary>
public static class ScheduleChecker
{
    /// <summary>Everything that is wrong with a schedule.</summary>
    public static IReadOnlyList<string> Check(PipelineSchedule schedule)
    {
        var problems = new List<string>();
        for (int rank = 0; rank < schedule.Ranks; rank++) CheckRank(schedule, rank, problems);
        CheckMessages(schedule, problems);
        if (problems.Count == 0) CheckProgress(schedule, problems);
        return problems;
    }

    /// <summary>Most activations that a rank holds at once: a forward takes one, a B or a W gives it back, a pair holds both of its own.</summary>
    public static int ActivationPeak(ImmutableArray<ScheduleStep> steps)
    {
        int held = 0, peak = 0;
        foreach (ScheduleStep step in steps)
        {
            if (step.HasForward) peak = Math.Max(peak, ++held);
            if (step.Kind is StepKind.Backward or StepKind.BackwardWeights or StepKind.ForwardBackward) held--;
        }

        return peak;
    }

    // One rank alone: complete, in order, on data that it has.
    static void CheckRank(PipelineSchedule schedule, int rank, List<string> problems)
    {
        PipelinePlacement placement = schedule.Placement;
        var state = new RankState[placement.Phases];
        for (int phase = 0; phase < placement.Phases; phase++) state[phase] = new(placement, rank, phase);
        int at = 0;
        foreach (ScheduleStep step in schedule.Steps[rank])
        {
            if (Outside(placement, step))
            {
                problems.Add($"Rank {rank}, step {at}: {step} is outside of {placement.Phases} phases with {placement.MicroBatchesPerPhase} micro-batches each.");
                return;
            }

            RankState phase = state[step.Phase];
            string? problem = step.Kind switch
            {
                StepKind.Forward => Forward(state, phase, step.MicroBatch),
                StepKind.Backward => Backward(state, phase, step.MicroBatch) ?? phase.Weights(step.MicroBatch),
                StepKind.BackwardInput => Backward(state, phase, step.MicroBatch),
                StepKind.BackwardWeights => phase.Weights(step.MicroBatch),
                StepKind.ForwardBackward => Forward(state, phase, step.MicroBatch) ?? Backward(state, state[step.BackwardPhase], step.BackwardMicroBatch)
                    ?? state[step.BackwardPhase].Weights(step.BackwardMicroBatch),
                StepKind.Send => phase.Send(step),
                _ => phase.Receive(step),
            };
            if (problem is not null) problems.Add($"Rank {rank}, step {at}: {step}: {problem}.");
            at++;
        }

        foreach (RankState phase in state)
            if (phase.Missing() is { } missing) problems.Add($"Rank {rank}, phase {phase.Phase}: {missing}.");
    }

    static bool Outside(PipelinePlacement placement, ScheduleStep step)
    {
        return Bad(step.Phase, step.MicroBatch) || (step.Kind == StepKind.ForwardBackward && Bad(step.BackwardPhase, step.BackwardMicroBatch));

        bool Bad(int phase, int microBatch) => (uint)phase >= (uint)placement.Phases || (uint)microBatch >= (uint)placement.MicroBatchesPerPhase;
    }

    static string? Forward(RankState[] state, RankState phase, int microBatch)
    {
        // At the fold of DualPipeV the output of phase 0 is the input of phase 1 on the same rank.
        if (phase.Previous is { } previous && previous.Rank == phase.Rank && state[previous.Phase].Forwards <= microBatch)
            return $"its input, the output of phase {previous.Phase} on this rank, is not there yet";
        return phase.Forward(microBatch);
    }

    static string? Backward(RankState[] state, RankState phase, int microBatch)
    {
        if (phase.Next is { } next && next.Rank == phase.Rank && state[next.Phase].Backwards <= microBatch)
            return $"the gradient of its output comes from phase {next.Phase} on this rank and is not there yet";
        return phase.Backward(microBatch);
    }

    // Between two ranks the k-th send is the k-th receive.
    static void CheckMessages(PipelineSchedule schedule, List<string> problems)
    {
        var sent = new Dictionary<(int From, int To), List<(Cargo, int Stage, int MicroBatch, string Name)>>();
        var received = new Dictionary<(int From, int To), List<(Cargo, int Stage, int MicroBatch, string Name)>>();
        PipelinePlacement placement = schedule.Placement;
        for (int rank = 0; rank < schedule.Ranks; rank++)
        {
            foreach (ScheduleStep step in schedule.Steps[rank])
            {
                if (!step.IsCommunication || Outside(placement, step)) continue;
                bool send = step.Kind == StepKind.Send;

                // A tensor is known by the stage that made it: an activation goes one stage on, a gradient one stage back.
                int stage = placement.Stage(rank, step.Phase);
                int made = send ? stage : stage + (step.Cargo == Cargo.Activation ? -1 : 1);
                var key = send ? (rank, step.Peer) : (step.Peer, rank);
                Dictionary<(int, int), List<(Cargo, int, int, string)>> lists = send ? sent : received;
                if (!lists.TryGetValue(key, out List<(Cargo, int, int, string)>? list)) lists.Add(key, list = []);
                list.Add((step.Cargo, made, placement.GlobalMicroBatch(rank, step.Phase, step.MicroBatch), $"the {step} on rank {rank}"));
            }
        }

        foreach ((int from, int to) in sent.Keys.Union(received.Keys))
        {
            List<(Cargo Cargo, int Stage, int MicroBatch, string Name)> sends = sent.GetValueOrDefault((from, to)) ?? [], receives = received.GetValueOrDefault((from, to)) ?? [];
            if (sends.Count != receives.Count) problems.Add($"Rank {from} sends {sends.Count} messages to rank {to}, which receives {receives.Count} from it.");
            for (int i = 0; i < Math.Min(sends.Count, receives.Count); i++)
            {
                if ((sends[i].Cargo, sends[i].Stage, sends[i].MicroBatch) == (receives[i].Cargo, receives[i].Stage, receives[i].MicroBatch)) continue;
                problems.Add($"Message {i} from rank {from} to rank {to} is {sends[i].Name} and meets {receives[i].Name}.");
                break;
            }
        }
    }

    // Sends that wait for their receiver are the strictest transport there is: a batch ends when the peers have reached every part of it.
    static void CheckProgress(PipelineSchedule schedule, List<string> problems)
    {
        int ranks = schedule.Ranks;
        var next = new int[ranks];
        var batchEnd = new int[ranks];
        var posted = new Dictionary<(int From, int To, bool Send), int>();
        var done = new Dictionary<(int From, int To, bool Send), int>();
        bool moved = true;
        while (moved)
        {
            moved = false;
            for (int rank = 0; rank < ranks; rank++)
            {
                ImmutableArray<ScheduleStep> steps = schedule.Steps[rank];
                while (next[rank] < steps.Length)
                {
                    int at = next[rank];
                    if (!steps[at].IsCommunication)
                    {
                        next[rank]++;
                        batchEnd[rank] = next[rank];
                        moved = true;
                        continue;
                    }

                    if (batchEnd[rank] <= at)
                    {
                        int end = at;
                        for (; end < steps.Length && steps[end].IsCommunication; end++) Count(posted, Key(rank, steps[end]));
                        batchEnd[rank] = end;
                        moved = true;
                    }

                    // All parts at once, or none.
                    if (Unmet(rank, out Dictionary<(int, int, bool), int> needed) is not null) break;
                    foreach (((int, int, bool) key, int count) in needed) done[key] = done.GetValueOrDefault(key) + count;
                    next[rank] = batchEnd[rank];
                    moved = true;
                }
            }
        }

        for (int rank = 0; rank < ranks; rank++)
            if (next[rank] < schedule.Steps[rank].Length)
                problems.Add($"Deadlock: rank {rank} waits at its step {next[rank]} for the {Unmet(rank, out _)}.");

        // The first part of the rank's batch that its peer has not reached.
        ScheduleStep? Unmet(int rank, out Dictionary<(int, int, bool), int> needed)
        {
            needed = [];
            for (int i = next[rank]; i < batchEnd[rank]; i++)
            {
                (int From, int To, bool Send) key = Key(rank, schedule.Steps[rank][i]);
                Count(needed, key);
                if (posted.GetValueOrDefault((key.From, key.To, !key.Send)) < done.GetValueOrDefault(key) + needed[key]) return schedule.Steps[rank][i];
            }

            return null;
        }

        static (int From, int To, bool Send) Key(int rank, ScheduleStep step) =>
            step.Kind == StepKind.Send ? (rank, step.Peer, true) : (step.Peer, rank, false);

        static void Count(Dictionary<(int, int, bool), int> counts, (int, int, bool) key) => counts[key] = counts.GetValueOrDefault(key) + 1;
    }

    /// <summary>What one phase of a rank has done so far.</summary>
    sealed class RankState(PipelinePlacement placement, int rank, int phase)
    {
        readonly int _count = placement.MicroBatchesPerPhase;
        int _weights, _forwardReceived, _gradientReceived, _forwardSent, _gradientSent;

        public int Rank => rank;

        public int Phase => phase;

        public StagePlace? Previous { get; } = placement.Previous(rank, phase);

        public StagePlace? Next { get; } = placement.Next(rank, phase);

        public int Forwards { get; private set; }

        public int Backwards { get; private set; }

        bool Receives => Previous is { } place && place.Rank != rank;

        bool Sends => Next is { } place && place.Rank != rank;

        public string? Forward(int microBatch)
        {
            if (microBatch != Forwards) return $"micro-batch {Forwards} is next in this phase";
            if (Receives && _forwardReceived <= microBatch) return "its input has not been received";
            Forwards++;
            return null;
        }

        public string? Backward(int microBatch)
        {
            if (microBatch != Backwards) return $"micro-batch {Backwards} is next in this phase";
            if (Forwards <= microBatch) return "its forward has not run";
            if (Sends && _gradientReceived <= microBatch) return "the gradient of its output has not been received";
            Backwards++;
            return null;
        }

        public string? Weights(int microBatch)
        {
            if (microBatch != _weights) return $"the weight gradients of micro-batch {_weights} are next in this phase";
            if (Backwards <= microBatch) return "its backward for the input has not run";
            _weights++;
            return null;
        }

        public string? Send(ScheduleStep step)
        {
            bool activation = step.Cargo == Cargo.Activation;
            StagePlace? place = activation ? Next : Previous;
            if (place?.Rank != step.Peer || step.Peer == rank) return "no stage there waits for it";
            ref int sent = ref (activation ? ref _forwardSent : ref _gradientSent);
            if (step.MicroBatch != sent) return $"micro-batch {sent} is next to be sent";
            if ((activation ? Forwards : Backwards) <= step.MicroBatch) return "it has not been computed";
            sent++;
            return null;
        }

        public string? Receive(ScheduleStep step)
        {
            bool activation = step.Cargo == Cargo.Activation;
            StagePlace? place = activation ? Previous : Next;
            if (place?.Rank != step.Peer || step.Peer == rank) return "no stage there makes it";
            ref int received = ref (activation ? ref _forwardReceived : ref _gradientReceived);
            if (step.MicroBatch != received) return $"micro-batch {received} is next to be received";
            received++;
            return null;
        }

        public string? Missing()
        {
            if (Forwards != _count) return $"{Forwards} of {_count} forwards ran";
            if (Backwards != _count) return $"{Backwards} of {_count} backwards ran";
            if (_weights != _count) return $"{_weights} of {_count} weight gradients were computed";
            if (Sends && _forwardSent != _count) return $"{_forwardSent} of {_count} outputs were sent";
            return Receives && _gradientSent != _count ? $"{_gradientSent} of {_count} input gradients were sent" : null;
        }
    }
}
