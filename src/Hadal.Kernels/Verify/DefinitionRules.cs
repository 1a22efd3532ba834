using Hadal.Kernels.Ir;

namespace Hadal.Kernels.Verify;

/// <summary>Every value is defined once and before its uses, in a block around them; no variable is read where nothing can have written it.</summary>
static class DefinitionRules
{
    public static void Check(Kernel kernel, Findings findings)
    {
        var walk = new Walk(kernel, findings);
        walk.Block(kernel.Body, [], []);
    }

    sealed class Walk(Kernel kernel, Findings findings)
    {
        readonly HashSet<int> _everDefined = [];

        public void Block(Block block, HashSet<int> visible, HashSet<int> written)
        {
            // Blocks see what is defined around them; what they define ends with them.
            var own = new List<int>();
            foreach (Operation operation in block.Operations) Operation(operation, visible, written, own);
            foreach (int id in own) visible.Remove(id);
        }

        void Operation(Operation operation, HashSet<int> visible, HashSet<int> written, List<int> own)
        {
            foreach (Value operand in operation.Operands) Use(operation, operand, visible);
            switch (operation)
            {
                case ReadVariable read when !written.Contains(read.Variable.Id):
                    findings.Add(VerifierRule.Definition, read.Source, $"variable '{read.Variable.Name}' is read where nothing has written it", "give it a value first");
                    break;
                case WriteVariable write: written.Add(write.Variable.Id); break;
                case ReadParameter parameter when parameter.Parameter < 0 || parameter.Parameter >= kernel.Parameters.Count:
                    findings.Add(VerifierRule.Definition, parameter.Source, $"parameter {parameter.Parameter} is read, the kernel has {kernel.Parameters.Count}", "declare it");
                    break;
                case If branch:
                {
                    var other = new HashSet<int>(written);
                    Block(branch.Then, visible, written);
                    if (branch.Otherwise is { } otherwise) Block(otherwise, visible, other);
                    written.UnionWith(other);
                    break;
                }

                case Loop loop: Loop(loop, visible, written); break;
                case RoleSwitch roles:
                    foreach (Role role in roles.Roles) Block(role.Body, visible, [.. written]);
                    break;
                default: break;
            }

            foreach (Value result in operation.Results)
            {
                if (!_everDefined.Add(result.Id)) findings.Add(VerifierRule.Definition, operation.Source, $"{result} is defined a second time", "let every operation define a new value");
                visible.Add(result.Id);
                own.Add(result.Id);
            }
        }

        void Loop(Loop loop, HashSet<int> visible, HashSet<int> written)
        {
            // The test runs before every turn: its values belong to it, except the condition, which the loop reads.
            var own = new List<int>();
            foreach (Operation operation in loop.Test.Operations) Operation(operation, visible, written, own);
            Use(loop, loop.Condition, visible);
            foreach (int id in own) visible.Remove(id);
            Block(loop.Body, visible, written);
        }

        void Use(Operation operation, Value value, HashSet<int> visible)
        {
            if (!visible.Contains(value.Id))
                findings.Add(VerifierRule.Definition, operation.Source, $"'{operation.Mnemonic}' uses {value}, which is not defined before it in a block around it", "define it outside, or carry it in a register");
        }
    }
}
