using System.CommandLine;
using System.Globalization;
using Hadal.Cli.Framework;
using Hadal.Inference;
using Hadal.Model;
using Hadal.Tensors;

namespace Hadal.Cli.Verbs;

/// <summary><c>hadal inspect forward</c>.</summary>
static class InspectVerb
{
    public static Verb Create(Context context) =>
        new("inspect", "Looks into a model.",
            "hadal inspect forward --model models/nano --tokens tokens.safetensors --out out.safetensors --backward")
        {
            Forward(context),
        };

    static Verb Forward(Context context)
    {
        Option<string> model = Options.Model();
        Option<string?> tokens = Options.Text("--tokens", "FILE", "Safetensors file with input_ids, I32 [B, T].", required: true);
        Option<string?> output = Options.Text("--out", "FILE", "Safetensors file to write: logits [B, T, V], loss [1], and grad.NAME with --backward; all F32.", required: true);
        Option<bool> backward = Options.Switch("--backward", "Also write the gradient of the loss for every tensor of the checkpoint.");
        Option<string> recipe = Options.Choice("--recipe", "Precision.", [.. Recipe.All.Select(r => r.Name)]);
        Option<string> backend = Options.Backend();
        Option<int> threads = Options.Threads();
        Option<bool> json = Options.Json();
        var verb = new Verb("forward", "Runs the model over given tokens and writes logits, the mean next-token loss and, if asked, all gradients.",
            "hadal inspect forward --model models/nano --tokens tokens.safetensors --out out.safetensors",
            "hadal inspect forward --model models/nano --tokens tokens.safetensors --out out.safetensors --backward --backend reference")
        {
            model, tokens, output, backward, recipe, backend, threads, json,
        };
        verb.SetAction(line =>
        {
            using IBackend chosen = Backends.Create(line.GetValue(backend)!, line.GetValue(threads), context.Terminal);
            var warnings = new List<string>();
            double loss = ForwardInspection.Run(line.GetRequiredValue(model), line.GetRequiredValue(tokens)!, line.GetRequiredValue(output)!,
                line.GetValue(backward), Recipe.Find(line.GetValue(recipe)!), chosen, warnings);
            foreach (string warning in warnings) context.Terminal.Error.WriteLine("warning: " + warning);
            if (line.GetValue(json)) context.Terminal.WriteJson(writer => writer.WriteNumber("loss", loss));
            else context.Terminal.Output.WriteLine(string.Create(CultureInfo.InvariantCulture, $"loss {loss:G9}"));
            return ExitCode.Fine;
        });
        return verb;
    }
}
