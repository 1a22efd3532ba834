return Hadal.Cli.CommandLine.Run(args);
