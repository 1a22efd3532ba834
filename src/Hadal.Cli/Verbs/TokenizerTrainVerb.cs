using System.CommandLine;
using System.Diagnostics;
using System.Globalization;
using System.Text;
using Hadal.Cli.Framework;
using Hadal.Text;
using Hadal.Training.Data;

namespace Hadal.Cli.Verbs;

/// <summary><c>hadal tokenizer train</c>: learns a vocabulary from text.</summary>
static class TokenizerTrainVerb
{
    public static Verb Create(Context context)
    {
        var usual = new TokenizerTrainingOptions();
        var sources = new Argument<string[]>("FILES")
        {
            Description = $"Files or folders: {TextFiles.Kinds}; or bundled:{string.Join(", bundled:", BundledCorpora.Names)}.",
            Arity = ArgumentArity.OneOrMore,
        };
        Option<int> vocabulary = Options.Integer("--vocabulary", "Tokens in all: control tokens, 256 bytes, and the learned ones.", usual.VocabularySize, usual.SmallestVocabulary, 1 << 20);
        Option<string?> output = Options.Text("--output", "FILE", "The tokenizer.json to write, or a folder that gets one.", required: true);
        Option<int> frequency = Options.Integer("--minimum-frequency", "Pairs that occur less often are not merged.", (int)usual.MinimumFrequency, 1);
        Option<int?> threads = Options.OptionalInteger("--threads", "Threads; the result does not depend on it. [default: one per processor]", 1, 1024);
        Option<bool> force = OutputFile.Force();
        Option<bool> json = Options.Json();
        var verb = new Verb("train", "Learns a byte-level BPE vocabulary with DeepSeek-V3's splits and control tokens; the same texts give the same file.",
            "hadal tokenizer train texts/ --vocabulary 8192 --output models/mine/tokenizer.json",
            "hadal tokenizer train bundled:austen bundled:kjv notes.txt --vocabulary 4096 --output tokenizer.json --force")
        {
            sources, vocabulary, output, frequency, threads, force, json,
        };
        verb.SetAction(line =>
        {
            string path = OutputFile.Prepare(line.GetRequiredValue(output)!, "tokenizer.json", line.GetValue(force));
            var options = usual with
            {
                VocabularySize = line.GetValue(vocabulary),
                MinimumFrequency = line.GetValue(frequency),
                Threads = line.GetValue(threads) ?? usual.Threads,
            };
            Run(line.GetRequiredValue(sources), path, options, line.GetValue(json), context);
            return ExitCode.Fine;
        });
        return verb;
    }

    static void Run(string[] sources, string path, TokenizerTrainingOptions options, bool json, Context context)
    {
        long began = Stopwatch.GetTimestamp();
        var documents = new List<string>();
        Tokenizer tokenizer;
        using (var progress = new ProgressLine(context.Terminal))
        {
            foreach (string source in sources)
            {
                context.Cancellation.ThrowIfCancellationRequested();
                progress.Report("reading", documents.Count, 0, "documents");
                documents.AddRange(CorpusSources.Load(source, DocumentBoundary.File, seed: 0).Documents.Select(document => document.Text));
            }

            tokenizer = TokenizerTrainer.Train(documents, options, new Reports(progress), context.Cancellation);
            context.Cancellation.ThrowIfCancellationRequested();
        }

        tokenizer.Save(path);
        long bytes = documents.Sum(document => (long)Encoding.UTF8.GetByteCount(document));
        double seconds = Stopwatch.GetElapsedTime(began).TotalSeconds;
        if (tokenizer.VocabularySize < options.VocabularySize)
        {
            context.Terminal.Error.WriteLine(string.Create(CultureInfo.InvariantCulture,
                $"warning: the text holds pairs for {tokenizer.VocabularySize} tokens only; {options.VocabularySize} were asked for. Give more text, or lower --minimum-frequency."));
        }

        context.Terminal.Error.WriteLine(string.Create(CultureInfo.InvariantCulture,
            $"{tokenizer.VocabularySize} tokens learned from {documents.Count:N0} documents, {bytes:N0} bytes, in {seconds:0.0} s; written to {path}"));
        if (!json) return;
        context.Terminal.WriteJson(writer =>
        {
            writer.WriteString("file", path);
            writer.WriteNumber("vocabulary", tokenizer.VocabularySize);
            writer.WriteNumber("documents", documents.Count);
            writer.WriteNumber("bytes", bytes);
            writer.WriteNumber("seconds", Math.Round(seconds, 3));
        });
    }

    sealed class Reports(ProgressLine line) : IProgress<TokenizerTrainingProgress>
    {
        public void Report(TokenizerTrainingProgress value)
        {
            if (value.Stage == TokenizerTrainingStage.Counting) line.Report("counting pieces", value.Step, value.Total, "bytes");
            else line.Report("learning merges", value.Step, value.Total, "tokens");
        }
    }
}
