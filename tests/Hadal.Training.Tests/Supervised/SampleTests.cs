using Hadal.Model;
using Hadal.Tensors;
using Hadal.Text;
using Hadal.Training.Data;
using Hadal.Training.Supervised;

namespace Hadal.Training.Tests.Supervised;

/// <summary>From problems to rows: what is learned is the answers, and nothing of one sample reaches another.</summary>
public sealed class SampleTests
{
    static readonly SupervisedConfiguration Supervised = new() { Tasks = ["addition", "sorting"], Samples = 120, SecondTurnShare = 0.3 };

    static readonly Lazy<Tokenizer> Learned = new(() => TokenizerTrainer.Train(new ArithmeticDocuments(3).Corpus(40).Documents.Select(d => d.Text), new TokenizerTrainingOptions { VocabularySize = 320, Threads = 1 }, null, default));

    static Tokenizer Tokenizer => Learned.Value;

    static RunConfiguration Run => new() { Supervised = Supervised, Data = new DataConfiguration { Sources = [], SequenceLength = 240 }, Seed = 9 };

    [Fact]
    [Implements("V3 §5.1", "Supervised samples are conversations in the chat template; only the last answer is learned, thought and end included")]
    public void A_direct_sample_is_the_conversation_as_the_template_renders_it()
    {
        TaskProblem one = SupervisedTask.Find("addition").Draw(1, 1), two = SupervisedTask.Find("sorting").Draw(1, 2);
        ChatSample sample = ChatSample.Create(Tokenizer, [one, two], thinks: false);
        List<int> rendered = ChatTemplate.V3.Encode(Tokenizer, [new(ChatRole.User, one.Question), new(ChatRole.Assistant, one.Answer), new(ChatRole.User, two.Question), new(ChatRole.Assistant, two.Answer)], addGenerationPrompt: false);
        Assert.Equal(rendered, sample.Tokens);
        Assert.Equal($"{two.Answer}{SpecialTokens.EndOfSentence}", Tokenizer.Decode(sample.Tokens.AsSpan(sample.AnswerStart)));
    }

    [Fact]
    [Implements("V3 §5.1", "Supervised samples are conversations in the chat template; only the last answer is learned, thought and end included")]
    public void A_thinking_sample_begins_inside_its_thought_and_ends_it()
    {
        TaskProblem problem = SupervisedTask.Find("addition").Draw(1, 1);
        ChatSample sample = ChatSample.Create(Tokenizer, [problem], thinks: true);
        Assert.Equal(ChatTemplate.R1.Encode(Tokenizer, [new(ChatRole.User, problem.Question)], addGenerationPrompt: true), sample.Tokens[..sample.AnswerStart]);
        Assert.Equal(
            $"{SpecialTokens.BeginOfSentence}{SpecialTokens.User}{problem.Question}{SpecialTokens.Assistant}{SpecialTokens.ThinkBegin}\n{problem.Trace}\n{SpecialTokens.ThinkEnd}\n\n{problem.Answer}{SpecialTokens.EndOfSentence}",
            Tokenizer.Decode(sample.Tokens));
        Assert.True(problem.IsRight(ChatSample.AnswerOf(Tokenizer, sample.Tokens.AsSpan(sample.AnswerStart), thinks: true)!));
        Assert.Null(ChatSample.AnswerOf(Tokenizer, sample.Tokens.AsSpan(sample.AnswerStart, 5), thinks: true));
    }

    [Fact]
    public void Half_of_the_samples_of_each_task_think_and_some_have_a_second_turn()
    {
        ChatSample[] samples = [.. Enumerable.Range(0, Supervised.Samples).Select(i => SupervisedSamples.Create(Supervised, Tokenizer, 9, i))];
        int think = Tokenizer.RequireId(SpecialTokens.ThinkBegin), user = Tokenizer.RequireId(SpecialTokens.User);
        for (int task = 0; task < 2; task++) Assert.Equal(30, samples.Where((_, i) => i % 2 == task).Count(s => s.Tokens.Contains(think)));
        Assert.InRange(samples.Count(s => s.Tokens.Count(t => t == user) == 2), 20, 52);
        Assert.All(samples, s => Assert.DoesNotContain(think, s.Tokens[s.AnswerStart..]));
    }

    [Fact]
    [Implements("V3 §5.1", "Several samples share a sequence without seeing each other: losses and gradients are those of the samples alone")]
    public void Rows_hold_whole_samples_and_the_loss_is_that_of_each_alone_on_its_answer()
    {
        const int RowTokens = 243;
        TokenRows rows = SupervisedSamples.Pack(Run, Tokenizer, RowTokens, default);
        Assert.True(rows.TokenCount > 0.8 * rows.Count * 241, $"{rows.TokenCount} tokens in {rows.Count} rows");
        using IBackend backend = TinyRuns.Backend("cpu");
        using var model = new Transformer(backend, ModelLoader.Shape(ModelPresets.Find("tiny", 320)), Recipe.Fp32);
        Initialization.Normal(model, 3, 0.1);
        using var chunk = new SequenceChunk(model, 1, 240, training: true);
        Tensor gradients = model.Parameters.CreateBuffer(DType.F32);
        var weights = new LossWeights(0.01, 0.3, 0, 0);
        int samples = 0, learned = 0;
        int begin = Tokenizer.RequireId(SpecialTokens.BeginOfSentence), assistant = Tokenizer.RequireId(SpecialTokens.Assistant), end = Tokenizer.RequireId(SpecialTokens.EndOfSentence);
        HashSet<string> expected = [.. Enumerable.Range(0, Supervised.Samples).Select(i => string.Join(' ', SupervisedSamples.Create(Supervised, Tokenizer, 9, i).Tokens))];
        for (int r = 0; r < Math.Min(6, rows.Count); r++)
        {
            int[] row = new int[RowTokens];
            rows.Read(r, row);
            int used = row.AsSpan().IndexOf(-1), targets = SampleRows.CountTargets(row, 240);
            Assert.Equal(targets, SampleRows.Set(chunk, row, RowTokens));
            chunk.ForwardBackward(weights, gradients);
            int start = 0;
            while (start < used)
            {
                int next = row.AsSpan(start + 1).IndexOf(begin), length = next < 0 ? used - start : Math.Min(next + 1, used - start);
                int[] sample = row[start..(start + length)];
                Assert.Contains(string.Join(' ', sample), expected);
                int answer = sample.AsSpan().LastIndexOf(assistant) + 1;
                if (sample[answer] == Tokenizer.RequireId(SpecialTokens.ThinkBegin)) answer += Tokenizer.Encode("\n").Length + 1;
                Assert.Equal(end, sample[^1]);

                using var alone = new SequenceChunk(model, 1, length, training: true);
                alone.SetTokens(sample, length);
                for (int k = 0; k < alone.Targets.Count; k++)
                    for (int t = 0; t < length; t++)
                        if (t + k + 1 < answer) alone.Targets[k].AsSpan<int>()[t] = -1;
                alone.ForwardBackward(weights, gradients);
                for (int k = 0; k < alone.Losses.Count; k++)
                    Assert.Equal(alone.Losses[k].AsSpan<float>()[..Math.Min(length, 240 - start)].ToArray(), chunk.Losses[k].AsSpan<float>().Slice(start, Math.Min(length, 240 - start)).ToArray());
                Assert.Equal(length - answer, alone.Losses[0].AsSpan<float>().ToArray().Count(loss => loss > 0));
                learned += length - answer;
                samples++;
                start += length;
            }

            Assert.Equal(targets, chunk.Losses[0].AsSpan<float>().ToArray().Count(loss => loss > 0));
        }

        Assert.True(samples > 8 && learned > 80, $"{samples} samples, {learned} learned tokens");
    }

    [Fact]
    public void Samples_that_do_not_fit_a_row_are_refused_with_the_length_they_need()
    {
        var exception = Assert.Throws<RunConfigurationException>(() => SupervisedSamples.Pack(Run with { Data = Run.Data with { SequenceLength = 40 } }, Tokenizer, 43, default));
        Assert.Contains("'data.sequence_length' is 40; expected at least", exception.Message, StringComparison.Ordinal);
    }
}
