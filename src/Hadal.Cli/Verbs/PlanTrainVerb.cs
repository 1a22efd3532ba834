using System.CommandLine;
using Hadal.Cli.Drawing;
using Hadal.Cli.Framework;
using Hadal.Model;
using Hadal.Parallel.Schedules;
using Hadal.Planning;
using Hadal.Planning.Costs;
using Hadal.Planning.Layouts;
using Hadal.Tensors;
using Hadal.Training;

namespace Hadal.Cli.Verbs;

/// <summary><c>hadal plan train</c>: a training step on a cluster, planned: time, memory, bytes, layouts side by side.</summary>
static class PlanTrainVerb
{
    public static Verb Create(Context context)
    {
        var file = new Argument<string?>("RUN.json") { Description = "The run whose model, recipe and batch are planned; its texts are not read. A micro-batch is batch.rows sequences, a step batch.micro_batches of them on all ranks together.", Arity = ArgumentArity.ZeroOrOne };
        Option<string?> preset = Options.Text("--preset", "NAME", $"A shape instead of a run: {string.Join(", ", KnownShapes.All.Select(shape => shape.Name).Concat(ModelPresets.Names))}.");
        Option<string?> cluster = Options.Text("--cluster", "FILE", "The machines: a JSON file, or published for the report's 2,048 H800. [default: published]");
        Option<string?> costs = Options.Text("--costs", "FILE", "Where times come from: a JSON file such as hadal bench layer writes, or published for the measured step of V3. [default: published for v3-671b, else operations at the speed that step reached]");
        Option<string?> layout = Options.Text("--layout", "PPxEPxDP", "One layout: ranks of a pipeline, ranks that share the experts, copies of every expert. [default: all are compared, the fastest that fits is shown]");
        Option<string?> schedule = Options.OptionalChoice("--schedule", "One schedule. [default: all]", "dualpipe", "dualpipev", "zb1p", "1f1b");
        Option<int?> length = Options.OptionalInteger("--sequence-length", "Tokens of a sequence. [default: the run's, else 4096]", 1, 1 << 20);
        Option<int?> rows = Options.OptionalInteger("--rows", "Sequences of a micro-batch. [default: the run's, else 1]", 1, 65536);
        Option<int?> microBatches = Options.OptionalInteger("--micro-batches", "Micro-batches of a whole step, all ranks together. [default: the run's, else 15360]", 1, 1 << 20);
        Option<string?> recipe = Options.Text("--recipe", "NAME", "Precision. [default: the run's, else fp8]");
        Option<bool> example = Options.Switch("--example", "Print a cluster file to begin with, and plan nothing.");
        Option<bool> check = Options.Switch("--published", "Show the planner beside the published training of V3, and plan nothing else.");
        Option<bool> simulate = Options.Switch("--simulate", "Time the schedule of every expert group again with uneven loads, which the gate draws for random tokens, and say how long each rank computes and waits.");
        Option<double> skew = Options.Real("--load-skew", "Of --simulate: deviation of the experts' popularity, in logits; 0 for tokens that like all experts alike.", 0, 0, 10);
        Option<int> draws = Options.Integer("--routed", "Of --simulate: micro-batches that are routed; steps take them at random.", 4, 1, 1024);
        Option<bool> json = Options.Json();
        Option<string?> html = Options.Text("--html", "FILE", "Also write a page that stands alone: schedule, memory, layouts, assumptions.");
        Option<bool> force = OutputFile.Force();
        var verb = new Verb("train", "Plans a training step on a cluster, on the schedule that the executor runs: time, waiting, memory of each rank, bytes on the links, what is hidden; compares layouts and proposes one.",
            "hadal plan train --preset v3-671b", "hadal plan train --preset v3-671b --layout 16x64x2 --schedule dualpipe --html plan.html", "hadal plan train --preset v3-671b --layout 16x64x2 --schedule dualpipe --simulate", "hadal plan train --example > cluster.json",
            "hadal plan train run.json --cluster cluster.json --costs layer.json --json", "hadal plan train --published")
        {
            file, preset, cluster, costs, layout, schedule, length, rows, microBatches, recipe, simulate, skew, draws, example, check, json, html, force,
        };
        verb.SetAction(line =>
        {
            if (line.GetValue(example))
            {
                context.Terminal.Output.WriteLine(ClusterDescription.Published.ToJson());
                return ExitCode.Fine;
            }

            string? page = line.GetValue(html) is { } given ? OutputFile.Prepare(given, "plan.html", line.GetValue(force)) : null;
            if (line.GetValue(check))
            {
                PublishedCheck published = PublishedCheck.Run();
                PlanReport.Write(context, published, line.GetValue(json));
                if (page is not null) File.WriteAllText(page, PlanPage.Write(published.Plan, comparison: null, published));
                return Done(context, page);
            }

            TrainingWork work = Work(context, line.GetValue(file), line.GetValue(preset), line.GetValue(recipe), line.GetValue(length), line.GetValue(rows), line.GetValue(microBatches));
            ClusterDescription machines = ClusterDescription.Load(line.GetValue(cluster) ?? "published");
            CostDescription prices = line.GetValue(costs) is { } name ? CostDescription.Load(name)
                : work.Shape == KnownShapes.V3671B && machines == ClusterDescription.Published ? StepTotals.Published : RateCosts.Published;
            ScheduleKind[] kinds = [.. Enum.GetValues<ScheduleKind>().Where(kind => line.GetValue(schedule) is not { } one || string.Equals(PipelineSchedule.Name(kind), one, StringComparison.Ordinal))];
            (TrainingPlan plan, PlanComparison? comparison) = Plan(context, work, machines, prices, line.GetValue(layout), kinds);
            ClusterSimulation? simulation = line.GetValue(simulate) ? Simulate(context, plan, line.GetValue(draws), line.GetValue(skew)) : null;
            IReadOnlyList<PlanVariant> variants = PlanVariants.Of(plan);
            if (line.GetValue(json))
            {
                context.Terminal.WriteJson(writer =>
                {
                    PlanJson.Write(writer, plan, comparison, variants);
                    if (simulation is not null) PlanJson.Write(writer, simulation);
                });
            }
            else
            {
                context.Terminal.Output.Write(PlanText.Write(plan, comparison, variants));
                if (simulation is not null) context.Terminal.Output.Write(PlanText.Write(simulation));
            }

            if (page is not null) File.WriteAllText(page, PlanPage.Write(plan, comparison, published: null, simulation, variants));
            return Done(context, page);
        });
        return verb;
    }

    static ClusterSimulation Simulate(Context context, TrainingPlan plan, int draws, double skew)
    {
        using IBackend backend = Backends.Make("cpu");
        using var progress = new ProgressLine(context.Terminal);
        return ClusterSimulation.Run(plan, backend, draws, skew, progress: (done, all) => progress.Report("routing", done, all, "micro-batches"), cancel: context.Cancellation);
    }

    static int Done(Context context, string? page)
    {
        if (page is not null) context.Terminal.Error.WriteLine($"written to {page}");
        return ExitCode.Fine;
    }

    static (TrainingPlan Plan, PlanComparison? Comparison) Plan(Context context, TrainingWork work, ClusterDescription cluster, CostDescription costs, string? layout, ScheduleKind[] kinds)
    {
        if (layout is not null)
        {
            TrainingLayout one = TrainingLayout.Parse(layout);
            ScheduleKind[] possible = [.. kinds.Where(kind => one.Refusal(work, cluster, kind) is null)];
            if (possible.Length == 0) throw new PlanException(one.Refusal(work, cluster, kinds[0])!);
            return (possible.Select(kind => TrainingPlanner.Plan(work, cluster, costs, one, kind)).OrderByDescending(plan => plan.Fits).ThenBy(plan => plan.StepSeconds).First(), null);
        }

        PlanComparison comparison;
        using (var progress = new ProgressLine(context.Terminal))
            comparison = TrainingPlanner.Compare(work, cluster, costs, kinds, (done, all) => progress.Report("comparing", done, all, "layouts"), context.Cancellation);
        PlanRow chosen = comparison.Proposal ?? (comparison.Rows.Count > 0 ? comparison.Rows.MinBy(row => row.MemoryBytes)! : throw CommandError.Failed(
            $"None of {comparison.Tried} layouts can be run on {cluster.Gpus} GPUs; the first: {comparison.Refusal}", "a batch that can be dealt to the GPUs", "change --micro-batches, the cluster, or --schedule"));
        if (!chosen.Fits) context.Terminal.Error.WriteLine("warning: no layout fits into memory; the one that needs least is shown");
        return (TrainingPlanner.Plan(work, cluster, costs, chosen.Layout, chosen.Schedule), comparison);
    }

    static TrainingWork Work(Context context, string? file, string? preset, string? recipe, int? length, int? rows, int? microBatches)
    {
        if ((file is null) == (preset is null))
            throw CommandError.WrongUse(file is null ? "Neither a run nor --preset was given." : "Both a run and --preset were given.", "one of them", "hadal plan train --preset v3-671b");
        if (preset is not null)
        {
            bool published = KnownShapes.All.Any(known => string.Equals(known.Name, preset, StringComparison.Ordinal));
            string[] names = [.. KnownShapes.All.Select(known => known.Name), .. ModelPresets.Names];
            if (!names.Contains(preset, StringComparer.Ordinal)) throw CommandError.Failed($"There is no shape '{preset}'.", string.Join(", ", names), "choose one of them, or give a run.json");
            return published ? BenchLayerVerb.Work(context, null, preset, recipe ?? "fp8", rows, length, microBatches ?? 15360) : BenchLayerVerb.Work(context, null, preset, recipe, rows, length, microBatches);
        }

        if (!File.Exists(file)) throw CommandError.Failed($"There is no file {file}.", "the path of a run.json", "check the path; hadal train --example > run.json writes one to begin with");
        return BenchLayerVerb.Work(context, file, "", recipe, rows, length, microBatches);
    }
}
