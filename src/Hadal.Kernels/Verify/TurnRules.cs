using System.Globalization;
using Hadal.Kernels.Ir;

namespace Hadal.Kernels.Verify;

/// <summary>
/// Both sides of a ring make the same number of turns. A number of turns is a sum of products: known trip counts multiply, loops with unknown ends are named. It
/// is compared where both sides have the same unknown loops, which then are taken to be the same walk.
/// </summary>
static class TurnRules
{
    public static void Check(Kernel kernel, ValueFacts facts, Findings findings)
    {
        var counter = new Counter(facts);
        IEnumerable<Role?> roles = kernel.Body.Operations.OfType<RoleSwitch>().SelectMany(r => r.Roles);
        foreach (PipelineDeclaration ring in kernel.Pipelines)
        {
            SortedDictionary<string, long> fills = counter.Count(kernel.Body, o => o is BarrierExpect { Slot: { } slot } && ring.ProducerSlots.Contains(slot));
            if (fills.Count == 0) continue;
            bool released = false;
            foreach (Role? role in roles.DefaultIfEmpty(null))
            {
                bool Releases(Operation o) => o is BarrierArrive { ReleasesSlot: { } slot } && ring.ConsumerSlots.Contains(slot);
                Block body = role?.Body ?? kernel.Body;
                if (Kernel.Walk(body).FirstOrDefault(Releases) is not { } at) continue;
                released = true;
                SortedDictionary<string, long> gives = counter.Count(body, Releases);
                foreach (string key in gives.Keys.ToArray()) gives[key] *= ring.Shares;
                if (fills.Keys.SequenceEqual(gives.Keys, StringComparer.Ordinal) && !fills.Values.SequenceEqual(gives.Values))
                    findings.Add(VerifierRule.Turns, at.Source, $"ring '{ring.Name}' is filled {Describe(fills)} and given back {Describe(gives)}", "let both sides make the same number of turns");
            }

            bool fits = fills.Count == 1 && fills.TryGetValue("", out long once) && once <= ring.Stages;
            if (!released && !fits)
                findings.Add(VerifierRule.Turns, ring.Source, $"ring '{ring.Name}' of {ring.Stages} stages is filled {Describe(fills)} and no stage is given back", "dispose or release its slots");
        }
    }

    static string Describe(SortedDictionary<string, long> turns) => string.Join(" + ", turns.Select(t => t.Key.Length == 0
        ? string.Create(CultureInfo.InvariantCulture, $"{t.Value} times")
        : string.Create(CultureInfo.InvariantCulture, $"{t.Value} times a turn of {t.Key.Trim('·')}")));

    sealed class Counter(ValueFacts facts)
    {
        public SortedDictionary<string, long> Count(Block block, Func<Operation, bool> counts)
        {
            var total = new SortedDictionary<string, long>(StringComparer.Ordinal);
            for (int i = 0; i < block.Operations.Count; i++)
            {
                Operation operation = block.Operations[i];
                if (counts(operation)) Add(total, "", 1);
                switch (operation)
                {
                    case If branch: AddBranches(total, Count(branch.Then, counts), branch.Otherwise is null ? [] : Count(branch.Otherwise, counts), branch); break;
                    case Loop loop:
                    {
                        SortedDictionary<string, long> body = Count(loop.Body, counts);
                        if (body.Count == 0) break;
                        (long times, string unknown) = Trips(loop, block, i);
                        foreach ((string key, long value) in body) Add(total, unknown + key, times * value);
                        break;
                    }

                    case RoleSwitch roles:
                        foreach (Role role in roles.Roles)
                            foreach ((string key, long value) in Count(role.Body, counts)) Add(total, key, value);
                        break;
                    default: break;
                }
            }

            return total;
        }

        void AddBranches(SortedDictionary<string, long> total, SortedDictionary<string, long> then, SortedDictionary<string, long> otherwise, If branch)
        {
            // One thread stands for its role: a condition that singles threads out is no condition for the count.
            if (otherwise.Count == 0 && facts.Of(branch.Condition).Varies < 5 && IsThreadAlone(branch.Condition))
            {
                foreach ((string key, long value) in then) Add(total, key, value);
                return;
            }

            foreach ((string key, long value) in then) Add(total, $"a condition·{key}", value);
            foreach ((string key, long value) in otherwise) Add(total, $"another condition·{key}", value);
        }

        bool IsThreadAlone(Value condition) => facts.Definition(condition) is Compare { Kind: CompareKind.Equal } compare && facts.Of(compare.Left).Shift == 0;

        /// <summary>Trip count of a counting loop: a constant, or a name.</summary>
        (long Times, string Unknown) Trips(Loop loop, Block around, int position)
        {
            const string Loop = "a loop with an unknown end·";
            if (facts.Definition(loop.Condition) is not Compare compare || facts.Definition(compare.Left) is not ReadVariable { Variable: var counter }) return (1, Loop);
            long? start = null;
            for (int i = position - 1; i >= 0 && start is null; i--)
                if (around.Operations[i] is WriteVariable write && write.Variable == counter) start = (long?)facts.Of(write.Value).Number ?? -1;
            WriteVariable[] writes = [.. Kernel.Walk(loop.Body).OfType<WriteVariable>().Where(w => w.Variable == counter)];
            if (start is null or < 0 || writes.Length != 1 || !loop.Body.Operations.Contains(writes[0]) || facts.Definition(writes[0].Value) is not Binary step) return (1, Loop);
            bool byOne = facts.Of(step.Right).Number == 1;
            return (compare.Kind, step.Kind, (long?)facts.Of(compare.Right).Number) switch
            {
                (CompareKind.Less, BinaryKind.Add, { } end) when byOne => (Math.Max(0, end - start.Value), ""),
                (CompareKind.NotEqual, BinaryKind.Subtract, { } end) when byOne => (Math.Max(0, start.Value - end), ""),
                (CompareKind.Less, BinaryKind.Add, null) when byOne && start == 0 => (1, $"{compare.Right}·"),
                _ => (1, Loop),
            };
        }

        static void Add(SortedDictionary<string, long> total, string key, long value)
        {
            if (value != 0) total[key] = total.GetValueOrDefault(key) + value;
        }
    }
}
